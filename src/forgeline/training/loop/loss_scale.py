"""Keeping float16 gradients from vanishing: the loss is scaled up before the backward pass, gradients down after it."""

from collections.abc import Iterable
from typing import Any

from torch import nn

_FIRST_SCALE = 2.0**16
_LEAST_SCALE = 1.0
_STEPS_TO_GROW = 2_000


class LossScale:
    """A power of two that follows the gradients (Micikevicius et al. 2018, arXiv 1710.03740, section 3.2).

    Float16 has no number below 6e-8, where most gradients of a large batch lie; bfloat16 and float32 do. The factor is
    halved when gradients overflow and doubled after 2,000 steps without. A step that overflows is computed again rather
    than left out, so the number of steps stays what it is.

    Attributes:
        factor: What the loss is multiplied by; 1 at all times where nothing has to be scaled.
    """

    def __init__(self, enabled: bool) -> None:
        """Starts at 65,536, or at 1 for good."""
        self.factor = _FIRST_SCALE if enabled else 1.0
        self._enabled = enabled
        self._steps_since = 0

    def unscale(self, parameters: Iterable[nn.Parameter]) -> None:
        """Divides the gradients by the factor, which loses no digit."""
        if self._enabled:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.div_(self.factor)

    def lower(self) -> bool:
        """Halves the factor after an overflow; False if it cannot be blamed on the scale."""
        if self.factor <= _LEAST_SCALE:
            return False
        self.factor /= 2
        self._steps_since = 0
        return True

    def note_step(self) -> None:
        """A step went well."""
        if not self._enabled:
            return
        self._steps_since += 1
        if self._steps_since == _STEPS_TO_GROW:
            self.factor *= 2
            self._steps_since = 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return {"factor": self.factor, "steps_since": self._steps_since}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes what `state` gave."""
        self.factor, self._steps_since = state["factor"], state["steps_since"]
