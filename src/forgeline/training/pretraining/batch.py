"""What each forward pass of pretraining sees."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forgeline.packing.dataset import TokenDataset
from forgeline.training.loop.objective import IGNORED, split_window
from forgeline.training.loop.optimizers.sophia import label_uniforms
from forgeline.training.params.pretrain import PretrainParams
from forgeline.training.pretraining.phases import reading_order


@dataclass(frozen=True)
class Batch:
    """Windows of tokens with what has to be predicted.

    Attributes:
        input_ids: (batch, time).
        labels: (batch, time), already shifted: `labels[b, t]` follows input t; -100 is not supervised.
        position_ids: (batch, time), which start again at 0 with every document; None counts through the window.
    """

    input_ids: Tensor
    labels: Tensor
    position_ids: Tensor | None

    @property
    def inputs(self) -> dict[str, Tensor]:
        """Keyword arguments of the model. Restarting positions are what it tells documents apart by."""
        positions = {} if self.position_ids is None else {"position_ids": self.position_ids}
        return {"input_ids": self.input_ids, **positions}

    @property
    def num_supervised(self) -> int:
        """How many labels count."""
        return int((self.labels != IGNORED).sum())

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        positions = None if self.position_ids is None else self.position_ids.to(device)
        return Batch(self.input_ids.to(device), self.labels.to(device), positions)


def read_batch(data: TokenDataset, indices: NDArray[np.int64], document_mask: bool) -> Batch:
    """The windows with these numbers, on the CPU.

    Args:
        data: Packed tokens.
        indices: Window numbers.
        document_mask: Whether documents are kept apart.
    """
    input_ids, labels = split_window(torch.from_numpy(data.windows(indices)))
    positions = torch.from_numpy(data.positions(indices)) if document_mask else None
    return Batch(input_ids, labels, positions)


class StepBatches:
    """This process's share of the batches of every step: a function of seed and step, so a resume needs no state."""

    def __init__(self, train: TokenDataset, params: PretrainParams, *, process: int, num_processes: int) -> None:
        """Notes what there is to share.

        Args:
            train: Windows to learn from.
            params: Section `pretrain`.
            process: Number of this process.
            num_processes: How many share each micro-batch; they divide its size.
        """
        self._train = train
        self._params = params
        self._order = reading_order(train, params)
        self._share = params.micro_batch_size // num_processes
        self._first = process * self._share

    def of_step(self, step: int) -> list[Batch]:
        """The micro-batches of a 0-based step, on the CPU."""
        params = self._params
        starts = [step * params.windows_per_step + n * params.micro_batch_size for n in range(self.count)]
        return [
            read_batch(self._train, self._order.indices(start + self._first, self._share), params.document_mask)
            for start in starts
        ]

    def uniforms(self, step: int) -> list[Tensor]:
        """Random numbers in [0, 1) for the labels of each micro-batch, each (windows of this process, time)."""
        shape = (self.count, self._params.micro_batch_size, self._train.sequence_length)
        numbers = label_uniforms(self._params.seed, step, shape)
        return list(numbers.narrow(1, self._first, self._share))

    @property
    def count(self) -> int:
        """Micro-batches of a step."""
        return self._params.gradient_accumulation_steps

    @property
    def sequence_length(self) -> int:
        """Tokens of a window."""
        return self._train.sequence_length

    @property
    def tokens_per_step(self) -> int:
        """Supervised tokens of a step, over all processes."""
        return self._params.windows_per_step * self._train.sequence_length
