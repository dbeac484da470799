"""Optimizers of the own training loops, from torch."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

OptimizerName = Literal["adamw", "muon"]
_NOT_HIDDEN = ("embed_tokens", "lm_head")


def build_optimizers(
    name: OptimizerName,
    parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    learning_rate: float,
    muon_learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> list[Optimizer]:
    """The optimizers that together update all trainable parameters.

    AdamW (Loshchilov & Hutter 2019) decays matrices only. Muon (Jordan et al. 2024) orthogonalizes the momentum of
    hidden matrices; embeddings, the output head and vectors stay with AdamW.

    Args:
        name: `adamw` for everything, or `muon` for the hidden matrices.
        parameters: Named parameters of the model.
        learning_rate: Peak rate of AdamW.
        muon_learning_rate: Peak rate of Muon.
        betas: AdamW's decay rates.
        weight_decay: Decoupled decay of both.
    """
    trainable = [(key, value) for key, value in parameters if value.requires_grad]
    hidden = [value for key, value in trainable if value.ndim == 2 and not any(part in key for part in _NOT_HIDDEN)]
    with_muon = hidden if name == "muon" else []
    taken = {id(value) for value in with_muon}
    rest = [value for _, value in trainable if id(value) not in taken]
    groups = [
        {"params": [value for value in rest if value.ndim >= 2], "weight_decay": weight_decay},
        {"params": [value for value in rest if value.ndim < 2], "weight_decay": 0.0},
    ]
    optimizers: list[Optimizer] = []
    if any(group["params"] for group in groups):
        optimizers.append(AdamW(groups, lr=learning_rate, betas=betas, fused=True))
    if with_muon:
        optimizers.append(Muon(with_muon, lr=muon_learning_rate, weight_decay=weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def set_learning_rate_factor(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Sets every group's rate to `factor` times its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> float:
    """Scales the gradients to a total 2-norm of at most `max_norm`; returns the norm before."""
    return float(torch.nn.utils.clip_grad_norm_(parameters, max_norm))
