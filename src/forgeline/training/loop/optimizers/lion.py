"""Lion: the sign of interpolated momentum (Chen et al. 2023, arXiv 2302.06675, algorithm 2).

Written here rather than taken from a library of optimizers: it is one line of arithmetic, torch has none, and importing
the library that does costs more than a second in every training stage. A test holds the two together.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Lion(Optimizer):
    """Every entry moves by exactly the learning rate, in the direction of sign(beta1 m + (1 - beta1) g).

    Args:
        groups: Parameter groups, each with its `weight_decay`.
        learning_rate: Of all groups.
        betas: Decay rates of the interpolation whose sign is taken and of the momentum m.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], learning_rate: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": learning_rate, "betas": betas})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # the loop computes gradients before
        """Moves every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, rate = self.state[parameter], group["lr"]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        beta_sign, beta_momentum = group["betas"]
        direction = state["momentum"].lerp(gradient, 1 - beta_sign).sign_()
        parameter.mul_(1 - rate * group["weight_decay"]).add_(direction, alpha=-rate)
        state["momentum"].lerp_(gradient, 1 - beta_momentum)
