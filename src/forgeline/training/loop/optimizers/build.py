"""The optimizers of the own training loops: from torch where torch has them."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Adafactor, AdamW, Muon, Optimizer

from forgeline.training.loop.optimizers.lion import Lion
from forgeline.training.loop.optimizers.params import (
    AdafactorParams,
    AdamWParams,
    LionParams,
    MuonParams,
    OptimizerParams,
    SophiaParams,
)
from forgeline.training.loop.optimizers.sophia import Sophia


def build_optimizers(params: OptimizerParams, model: nn.Module) -> list[Optimizer]:
    """The optimizers that together update all trainable parameters of `model`.

    Muon leaves embeddings, the output head and vectors to AdamW; the others do it alone. Only what is left to do gets
    an optimizer: none has an empty group.

    Args:
        params: Which optimizer, and its knobs.
        model: Its embeddings and its head are told apart by what they are, not by their names.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    hidden = _hidden_matrices(model, trainable) if isinstance(params, MuonParams) else []
    taken = {id(parameter) for parameter in hidden}
    groups = _decay_groups([parameter for parameter in trainable if id(parameter) not in taken], params.weight_decay)
    optimizers = [_optimizer(params, groups)] if groups else []
    if isinstance(params, MuonParams) and hidden:
        optimizers.append(
            Muon(hidden, lr=params.muon_learning_rate, momentum=params.momentum, weight_decay=params.weight_decay)
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def _hidden_matrices(model: nn.Module, trainable: list[nn.Parameter]) -> list[nn.Parameter]:
    ends = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    head: nn.Module | None = getattr(model, "get_output_embeddings", lambda: None)()
    left_out = {id(weight) for weight in (*ends, getattr(head, "weight", None))}
    return [parameter for parameter in trainable if parameter.ndim == 2 and id(parameter) not in left_out]


def _decay_groups(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Matrices and embeddings, which decay, and vectors, which do not."""
    groups = [
        {"params": [value for value in parameters if value.ndim >= 2], "weight_decay": weight_decay},
        {"params": [value for value in parameters if value.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _optimizer(params: OptimizerParams, groups: list[dict[str, Any]]) -> Optimizer:
    match params:
        case AdamWParams() | MuonParams():
            return AdamW(groups, lr=params.learning_rate, betas=_pair(params.betas), eps=params.epsilon, fused=True)
        case AdafactorParams():
            # torch's default for the first epsilon is far above the mean squared gradient of a large model.
            return Adafactor(
                groups,
                lr=params.learning_rate,
                beta2_decay=params.beta2_decay,
                eps=(params.epsilon, params.min_scale),
                d=params.clip_threshold,
            )
        case LionParams():
            return Lion(groups, params.learning_rate, _pair(params.betas))
        case SophiaParams():
            return Sophia(
                groups,
                params.learning_rate,
                _pair(params.betas),
                params.gamma,
                params.epsilon,
                params.hessian_every_steps,
            )


def _pair(betas: list[float]) -> tuple[float, float]:
    first, second = betas
    return first, second


def set_learning_rate_factor(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Sets every group's rate to `factor` times its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> float:
    """Scales the gradients to a total 2-norm of at most `max_norm`; returns the norm before."""
    return float(torch.nn.utils.clip_grad_norm_(parameters, max_norm))
