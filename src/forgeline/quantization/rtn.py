"""Round to nearest: every weight to the closest point of its group's grid, without looking at data."""

import torch

from forgeline.quantization.grid import QuantizedWeight, assemble, fit_grid, group_size_of
from forgeline.quantization.spec import QuantizationSpec


def quantize_rtn(weight: torch.Tensor, spec: QuantizationSpec) -> QuantizedWeight:
    """Rounds a weight [O, I]; `spec.group_size` divides I."""
    groups = torch.split(weight.float(), group_size_of(weight, spec), dim=1)
    grids = [fit_grid(group, spec) for group in groups]
    codes = torch.cat([grid.encode(group) for grid, group in zip(grids, groups, strict=True)], dim=1)
    return assemble(codes, grids, spec)
