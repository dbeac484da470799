"""What a decoder layer's linear modules are fed on calibration text, and the layer's outputs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

LayerInput = tuple[torch.Tensor, dict[str, Any]]  # hidden states [B, T, D] of a batch, and the layer's other arguments

_WINDOWS_PER_BATCH = 16


class _Captured(Exception):
    """The first layer's inputs are there: the rest of the forward pass is not needed."""


@dataclass
class InputStatistics:
    """Of all inputs x [I] that a linear module has seen.

    Attributes:
        gram: Sum of x x^T, float64 [I, I].
        total: Sum of |x|, float64 [I].
        largest: Largest |x|, float32 [I].
        num_rows: How many there were.
    """

    gram: torch.Tensor
    total: torch.Tensor
    largest: torch.Tensor
    num_rows: int = 0

    @classmethod
    def zero(cls, size: int, device: torch.device) -> "InputStatistics":
        """Of no inputs yet."""
        gram = torch.zeros(size, size, dtype=torch.float64, device=device)
        return cls(gram, torch.zeros_like(gram[0]), torch.zeros(size, device=device))

    @property
    def mean(self) -> torch.Tensor:
        """Mean |x|, float32 [I]."""
        return (self.total / max(self.num_rows, 1)).float()

    def add(self, inputs: torch.Tensor) -> None:
        """Takes inputs [..., I] in."""
        rows = inputs.reshape(-1, inputs.shape[-1]).float()
        self.gram.add_(rows.T @ rows)
        self.total.add_(rows.abs().sum(dim=0))
        self.largest = torch.maximum(self.largest, rows.abs().amax(dim=0))
        self.num_rows += len(rows)

    def divided(self, scale: torch.Tensor) -> "InputStatistics":
        """Of the inputs x / scale."""
        wide = scale.double()
        return InputStatistics(
            self.gram / wide[:, None] / wide, self.total / wide, self.largest / scale, self.num_rows
        )  # fmt: skip


@contextmanager
def watch_inputs(modules: Sequence[nn.Linear]) -> Iterator[dict[nn.Linear, InputStatistics]]:
    """The statistics of what each module is fed while the block runs."""
    statistics = {module: InputStatistics.zero(module.in_features, module.weight.device) for module in modules}

    def add(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(module, nn.Linear)
        statistics[module].add(arguments[0])

    handles = [module.register_forward_pre_hook(add) for module in modules]
    try:
        yield statistics
    finally:
        for handle in handles:
            handle.remove()


def run_layer(layer: nn.Module, inputs: Sequence[LayerInput]) -> list[LayerInput]:
    """What the next layer is fed."""
    return [(_states(layer(hidden, **arguments)), arguments) for hidden, arguments in inputs]


def observe(
    layer: nn.Module, modules: Sequence[nn.Linear], inputs: Sequence[LayerInput]
) -> tuple[Mapping[nn.Linear, InputStatistics], list[LayerInput]]:
    """Runs a layer: the statistics of its modules' inputs, and what the next layer is fed."""
    with watch_inputs(modules) as statistics:
        outputs = run_layer(layer, inputs)
    return statistics, outputs


def first_inputs(model: PreTrainedModel, first: nn.Module, calibration: torch.Tensor) -> list[LayerInput]:
    """What reaches the first decoder layer when the model reads windows [n, T], batch by batch."""
    captured: list[LayerInput] = []

    def capture(_module: nn.Module, arguments: tuple[torch.Tensor, ...], kwargs: dict[str, Any]) -> None:
        captured.append((arguments[0], kwargs))
        raise _Captured

    handle = first.register_forward_pre_hook(capture, with_kwargs=True)
    try:
        for batch in torch.split(calibration.to(model.device), _WINDOWS_PER_BATCH):
            with suppress(_Captured):
                model(input_ids=batch, use_cache=False)
    finally:
        handle.remove()
    return captured


def _states(output: Any) -> torch.Tensor:
    states: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return states
