"""AWQ: features with large activations get finer steps, by scaling them up before rounding (Lin et al. 2024).

The scale of feature i is s_i = (mean |x_i|)^r; the ratio r is searched on a grid for the least output error
||Q(W diag(s)) diag(s)^-1 X - W X||^2 (equations 4 and 5). With H = X X^T that is tr(D H D^T), where D is the error of
the weights: no activations need be kept. Then each group's range is clipped where that lowers its part of the error.
"""

from collections.abc import Sequence

import torch

from forgeline.quantization.activations import InputStatistics
from forgeline.quantization.grid import group_size_of
from forgeline.quantization.rtn import quantize_rtn
from forgeline.quantization.spec import QuantizationSpec

NUM_RATIOS = 20  # r = 0, 1/20, ... 19/20, as in the authors' code
CLIPS = tuple(1 - step / 20 for step in range(10))  # shares of the range that are tried, as there
_LEAST_SCALE = 1e-4


def search_scale(weights: Sequence[torch.Tensor], inputs: InputStatistics, spec: QuantizationSpec) -> torch.Tensor:
    """The scale [I] of the features that all of `weights` [O, I] read; all ones if no other is better."""
    gram = inputs.gram.float()
    best, least = torch.ones_like(inputs.mean), float("inf")
    for step in range(NUM_RATIOS):
        scale = scale_of(inputs.mean, step / NUM_RATIOS)
        error = sum(_output_error(_rounded(weight * scale, spec) / scale - weight, gram) for weight in weights)
        if error < least:
            best, least = scale, float(error)
    return best


def scale_of(mean: torch.Tensor, ratio: float) -> torch.Tensor:
    """mean^ratio, centred: the largest scale is the inverse of the smallest."""
    scale = mean.clamp(min=_LEAST_SCALE).pow(ratio)
    return scale / (scale.amax() * scale.amin()).sqrt()


def clip_weights(weight: torch.Tensor, inputs: InputStatistics, spec: QuantizationSpec) -> torch.Tensor:
    """A weight [O, I] with every group held to the share of its range, out of `CLIPS`, that costs least."""
    size = group_size_of(weight, spec)
    clipped = weight.clone()
    for start in range(0, weight.shape[1], size):
        columns = slice(start, start + size)
        group, gram = weight[:, columns], inputs.gram[columns, columns].float()
        largest = group.abs().amax(dim=1, keepdim=True)
        least = torch.full_like(largest, float("inf"))
        for share in CLIPS:
            candidate = group.clamp(-share * largest, share * largest)
            difference = _rounded(candidate, spec) - group
            error = ((difference @ gram) * difference).sum(dim=1, keepdim=True)
            better = error < least
            least = torch.where(better, error, least)
            clipped[:, columns] = torch.where(better, candidate, clipped[:, columns])
    return clipped


def _rounded(weight: torch.Tensor, spec: QuantizationSpec) -> torch.Tensor:
    return quantize_rtn(weight, spec).dequantize()


def _output_error(difference: torch.Tensor, gram: torch.Tensor) -> float:
    return float(((difference @ gram) * difference).sum())
