"""The grid that weights are rounded to: per output row and group of inputs a scale, and perhaps a zero point.

weight ~ scale * (code - zero_point). Scales are rounded to their stored type before any code is chosen, so what is
loaded back is exactly what was measured.

Shapes: O outputs, I inputs, G groups of I / G inputs.
"""

from dataclasses import dataclass

import torch

from forgeline.quantization.spec import QuantizationSpec

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class Grid:
    """Scale and zero point of one group: both [O, 1], float32."""

    scale: torch.Tensor
    zero_point: torch.Tensor
    low: int
    high: int

    def encode(self, weight: torch.Tensor) -> torch.Tensor:
        """Nearest codes of weights [O, n], as float32."""
        return (weight / self.scale + self.zero_point).round().clamp(self.low, self.high)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Weights that codes [O, n] stand for."""
        return (codes - self.zero_point) * self.scale


@dataclass(frozen=True)
class QuantizedWeight:
    """A weight matrix on its grids.

    Attributes:
        codes: int8 [O, I].
        scales: [O, G], in the spec's `head_dtype`.
        zero_points: int8 [O, G]; all 0 when symmetric.
    """

    codes: torch.Tensor
    scales: torch.Tensor
    zero_points: torch.Tensor

    def dequantize(self) -> torch.Tensor:
        """The weights [O, I] it stands for, float32."""
        grouped = self.codes.float().reshape(*self.scales.shape, -1)
        weights = (grouped - self.zero_points.float()[:, :, None]) * self.scales.float()[:, :, None]
        return weights.reshape(self.codes.shape)


def fit_grid(group: torch.Tensor, spec: QuantizationSpec) -> Grid:
    """The grid that just covers the weights of one group [O, n], 0 included.

    Symmetric grids use all 2^bits codes: scale = max |w| / ((2^bits - 1) / 2), as compressed-tensors has it.
    """
    low, high = spec.code_range
    smallest = group.amin(dim=1, keepdim=True).clamp(max=0)
    largest = group.amax(dim=1, keepdim=True).clamp(min=0)
    if spec.symmetric:
        scale = torch.maximum(-smallest, largest) / ((high - low) / 2)
    else:
        scale = (largest - smallest) / (high - low)
    scale = scale.to(DTYPES[spec.head_dtype]).float()
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)  # a group of zeros
    if spec.symmetric:
        return Grid(scale, torch.zeros_like(scale), low, high)
    return Grid(scale, (low - smallest / scale).round().clamp(low, high), low, high)


def group_size_of(weight: torch.Tensor, spec: QuantizationSpec) -> int:
    """Inputs that share a scale in a weight [O, I]: all of a row where the spec names no number."""
    return spec.group_size or weight.shape[1]


def assemble(codes: torch.Tensor, grids: list[Grid], spec: QuantizationSpec) -> QuantizedWeight:
    """A quantized weight from codes [O, I] and the grids of its groups in order."""
    scales = torch.cat([grid.scale for grid in grids], dim=1).to(DTYPES[spec.head_dtype])
    zero_points = torch.cat([grid.zero_point for grid in grids], dim=1).to(torch.int8)
    return QuantizedWeight(codes.to(torch.int8), scales, zero_points)
