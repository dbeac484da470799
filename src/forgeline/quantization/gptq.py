"""GPTQ: round column by column, and let the columns to come make up for the error (Frantar et al. 2023).

The layer's output error on calibration inputs X is tr((W - Q) H (W - Q)^T) with H = X^T X. Rounding column i with error
e changes the columns after it by -e * U[i, i:] / U[i, i], where U is the upper Cholesky factor of H^-1 (section 3.3).
"""

import torch

from forgeline.quantization.grid import QuantizedWeight, assemble, fit_grid, group_size_of
from forgeline.quantization.spec import QuantizationSpec

DAMPENING = 0.01  # of the mean diagonal of H, the paper's 1 %
BLOCK_COLUMNS = 128  # the paper's B: updates beyond a block wait until it is done; the result is the same


def quantize_gptq(weight: torch.Tensor, hessian: torch.Tensor, spec: QuantizationSpec) -> QuantizedWeight:
    """Quantizes a weight [O, I] given H = X^T X [I, I] of its inputs; `spec.group_size` divides I."""
    weight = weight.float().clone()
    factor = inverse_factor(hessian).float()
    weight[:, hessian.diag() == 0] = 0  # inputs that never fire: any weight does, 0 is cheapest to represent
    codes = torch.zeros_like(weight)
    grids = []
    group_size = group_size_of(weight, spec)
    block = group_size * max(1, BLOCK_COLUMNS // group_size)
    for start in range(0, weight.shape[1], block):
        end = min(start + block, weight.shape[1])
        errors = torch.zeros_like(weight[:, start:end])
        for column in range(start, end):
            if column % group_size == 0:
                grids.append(fit_grid(weight[:, column : column + group_size], spec))
            current = weight[:, column : column + 1]
            code = grids[-1].encode(current)
            error = (current - grids[-1].decode(code)) / factor[column, column]
            codes[:, column : column + 1] = code
            errors[:, column - start : column - start + 1] = error
            weight[:, column:end] -= error * factor[column, column:end]
        weight[:, end:] -= errors @ factor[start:end, end:]
    return assemble(codes, grids, spec)


def inverse_factor(hessian: torch.Tensor) -> torch.Tensor:
    """Upper Cholesky factor of the inverse of the dampened Hessian, float64 [I, I]."""
    hessian = hessian.double().clone()
    diagonal = hessian.diagonal()
    diagonal[diagonal == 0] = 1
    diagonal += DAMPENING * diagonal.mean()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor: torch.Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor
