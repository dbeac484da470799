"""Sophia-G: momentum over an estimate of the Hessian's diagonal, clipped (Liu et al. 2023, arXiv 2305.14342).

The estimate is Gauss-Newton-Bartlett's (algorithm 2), not Hutchinson's (algorithm 1): its square of a plain gradient
works with every fast attention, with a compiler and with data parallelism. Hutchinson's needs a second derivative,
which torch's fused attention does not have on a CPU and compiled models do not have at all.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

_LABEL_STREAM = 1  # keeps these numbers apart from others that are drawn from the same seed


class Sophia(Optimizer):
    """Algorithm 3: w <- w - lr (weight_decay w + clip(m / max(gamma h, epsilon), 1)).

    m is the mean of gradients, h that of Hessian estimates; neither is corrected for starting at 0.

    Args:
        groups: Parameter groups, each with its `weight_decay`.
        learning_rate: Of all groups, and the farthest that an entry moves in a step, decay aside.
        betas: Decay rates of m and h.
        gamma: Scale of h.
        epsilon: Least denominator.
        hessian_every_steps: How often h has to be updated.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        learning_rate: float,
        betas: tuple[float, float],
        gamma: float,
        epsilon: float,
        hessian_every_steps: int,
    ) -> None:
        super().__init__(groups, {"lr": learning_rate, "betas": betas, "gamma": gamma, "epsilon": epsilon})
        self._hessian_every_steps = hessian_every_steps

    def needs_hessian(self, step: int) -> bool:
        """Whether `update_hessian` has to be called before the 0-based step is taken."""
        return step % self._hessian_every_steps == 0

    @torch.no_grad()
    def update_hessian(self, num_labels: int) -> None:
        """Takes an estimate of the Hessian's diagonal from the gradients that the parameters hold.

        Args:
            num_labels: B of algorithm 2: over how many labels from `draw_labels` the mean loss was taken. The labels
                being independent, B times the squared gradient of their mean loss has the Gauss-Newton diagonal as
                its expectation.
        """
        for group in self.param_groups:
            decay = group["betas"][1]
            for parameter in group["params"]:
                if parameter.grad is not None:
                    hessian = self._state_of(parameter)["hessian"]
                    hessian.mul_(decay).addcmul_(parameter.grad, parameter.grad, value=(1 - decay) * num_labels)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # the loop computes gradients before
        """Moves every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, rate = self._state_of(parameter), group["lr"]
        momentum = state["momentum"].lerp_(gradient, 1 - group["betas"][0])
        update = momentum / (group["gamma"] * state["hessian"]).clamp_(min=group["epsilon"])
        parameter.mul_(1 - rate * group["weight_decay"]).add_(update.clamp_(-1, 1), alpha=-rate)

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["momentum"], state["hessian"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return state


def label_uniforms(seed: int, step: int, shape: tuple[int, ...]) -> Tensor:
    """The random numbers of a step's labels: a function of seed and step, so that no generator needs to be saved."""
    return torch.from_numpy(np.random.default_rng([seed, step, _LABEL_STREAM]).random(shape, dtype=np.float32))
