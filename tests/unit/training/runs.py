"""What tests of pretraining runs share."""

from collections.abc import Callable

import torch


class Killed(BaseException):
    """What `kill -9` does, as far as the code after it is concerned."""


def kill() -> None:
    raise Killed


def same_bytes(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    theirs = b.state_dict()
    return all(torch.equal(value, theirs[key]) for key, value in a.state_dict().items())


def at(step: int, action: Callable[[], object]) -> Callable[[int, dict[str, float]], None]:
    """A log that does something at a step."""

    def log(now: int, _figures: dict[str, float]) -> None:
        if now == step:
            action()

    return log
