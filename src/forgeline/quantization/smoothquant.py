"""SmoothQuant: outliers of activations move into the weights, so that 8 bits do for both (Xiao et al. 2023).

s_j = max|x_j|^alpha / max|W_j|^(1 - alpha) for each feature j that a norm feeds (equation 4). Weights then get one
scale for each output row, activations one for each token while the model runs.
"""

from collections.abc import Sequence

import torch

_LEAST = 1e-5  # as in the authors' code: a feature that never fires, or that no weight reads, keeps a scale


def smoothing_scale(weights: Sequence[torch.Tensor], largest: torch.Tensor, alpha: float) -> torch.Tensor:
    """The scale [I] of features with largest magnitudes `largest` [I] that all of `weights` [O, I] read."""
    strongest = torch.stack([weight.abs().amax(dim=0) for weight in weights]).amax(dim=0).clamp(min=_LEAST)
    return (largest.clamp(min=_LEAST).pow(alpha) / strongest.pow(1 - alpha)).clamp(min=_LEAST)
