"""Log-likelihood of held-out answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from forgeline.model.batches import batches_by_length, evaluation_mode
from forgeline.model.compute import autocast
from forgeline.model.params import ComputeParams

IGNORED = -100
_BATCH_TOKENS = 4096  # padded tokens of one forward pass


@dataclass(frozen=True)
class Labelled:
    """Token ids and, at the same places, the id again where it is to be predicted, else -100."""

    input_ids: list[int]
    labels: list[int]

    @property
    def num_supervised(self) -> int:
        """Tokens that are predicted; the first of a sequence never is."""
        return sum(label != IGNORED for label in self.labels[1:])


@torch.no_grad()
def label_logps(model: PreTrainedModel, sequences: Sequence[Labelled], compute: ComputeParams) -> Tensor:
    """Summed natural-log probability of each sequence's labels [len(sequences)], in float64 on the CPU.

    Rows are padded on the right, where causal attention never looks, and logits are computed from the first label on.
    """
    sums = torch.zeros(len(sequences), dtype=torch.float64)
    lengths = [len(sequence.input_ids) for sequence in sequences]
    with evaluation_mode(model), autocast(model.device, compute):
        for rows in batches_by_length(lengths, _BATCH_TOKENS):
            longest = lengths[rows[0]]
            input_ids = _padded([sequences[row].input_ids for row in rows], 0, longest).to(model.device)
            labels = _padded([sequences[row].labels for row in rows], IGNORED, longest).to(model.device)[:, 1:]
            first = int((labels != IGNORED).any(dim=0).to(torch.int8).argmax())
            kept = longest - 1 - first
            logits = model(input_ids=input_ids[:, :-1], use_cache=False, logits_to_keep=kept).logits.float()
            labels = labels[:, first:]
            logps = -torch.nn.functional.cross_entropy(
                logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
            )
            sums[rows] = logps.double().sum(dim=1).cpu()
    return sums


def _padded(rows: Sequence[Sequence[int]], filler: int, length: int) -> Tensor:
    return torch.tensor([[*row, *[filler] * (length - len(row))] for row in rows])
