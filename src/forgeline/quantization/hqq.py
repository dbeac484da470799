"""HQQ: a grid for which a few large rounding errors cost little, found without data (Badri & Shaji 2023).

Minimizes ||W - D(Q(W))||_p^p with p < 1 by half-quadratic splitting: an outlier term E takes up large errors by
generalized soft thresholding, then the grid is fitted to W - E in closed form. The authors fit a fractional zero point.
The packed format stores whole ones, so here the zero point is rounded and the scale is fitted as well; and errors are
measured in steps of the group's first grid, so that the threshold does not depend on how large weights happen to be.
Of all rounds each group keeps the grid with the least error; the first round is round-to-nearest.
"""

import torch

from forgeline.quantization.grid import DTYPES, Grid, QuantizedWeight, fit_grid, group_size_of
from forgeline.quantization.spec import QuantizationSpec

NORM = 0.7  # p, the authors'
BETA, BETA_GROWTH = 10.0, 1.01  # weight of the splitting penalty, and its growth with every round
NUM_ROUNDS = 20


def quantize_hqq(weight: torch.Tensor, spec: QuantizationSpec) -> QuantizedWeight:
    """Quantizes a weight [O, I]; `spec.group_size` divides I."""
    groups = weight.float().reshape(-1, group_size_of(weight, spec))
    grid = fit_grid(groups, spec)
    unit = grid.scale
    best, least = grid, norm_error(groups, grid, unit)
    beta = BETA
    for _ in range(NUM_ROUNDS):
        grid = _refit(groups, grid, unit, beta, spec)
        beta *= BETA_GROWTH
        error = norm_error(groups, grid, unit)
        better = error < least
        least = torch.where(better, error, least)
        best = Grid(
            torch.where(better, grid.scale, best.scale),
            torch.where(better, grid.zero_point, best.zero_point),
            grid.low,
            grid.high,
        )
    shape = (weight.shape[0], -1)
    return QuantizedWeight(
        best.encode(groups).to(torch.int8).reshape(weight.shape),
        best.scale.to(DTYPES[spec.head_dtype]).reshape(shape),
        best.zero_point.to(torch.int8).reshape(shape),
    )


def norm_error(groups: torch.Tensor, grid: Grid, unit: torch.Tensor) -> torch.Tensor:
    """Sum of |error / unit|^p of each group [n, 1]."""
    errors = (groups - grid.decode(grid.encode(groups))) / unit
    return errors.abs().pow(NORM).sum(dim=1, keepdim=True)


def shrink(errors: torch.Tensor, beta: float) -> torch.Tensor:
    """Generalized soft thresholding: sign(x) max(|x| - |x|^(p-1) / beta, 0)."""
    size = errors.abs().clamp(min=1e-8)
    return errors.sign() * (size - size.pow(NORM - 1) / beta).clamp(min=0)


def _refit(groups: torch.Tensor, grid: Grid, unit: torch.Tensor, beta: float, spec: QuantizationSpec) -> Grid:
    codes = grid.encode(groups)
    target = groups - shrink((groups - grid.decode(codes)) / unit, beta) * unit
    zero_point = grid.zero_point
    if not spec.symmetric:
        zero_point = (codes - target / grid.scale).mean(dim=1, keepdim=True).round().clamp(grid.low, grid.high)
    steps = codes - zero_point
    squares = (steps * steps).sum(dim=1, keepdim=True)
    scale = (target * steps).sum(dim=1, keepdim=True) / squares.clamp(min=1)
    scale = scale.to(DTYPES[spec.head_dtype]).float()
    return Grid(torch.where(scale > 0, scale, grid.scale), zero_point, grid.low, grid.high)
