"""Log-likelihood of held-out answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
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
            input_ids, labels = _batch([sequences[row] for row in rows], model.device)
            logits = _logits(model, input_ids, labels.shape[1])
            logps = -torch.nn.functional.cross_entropy(
                logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
            )
            sums[rows] = logps.double().sum(dim=1).cpu()
    return sums


@torch.no_grad()
def divergence_from_reference(model: PeftModel, sequences: Sequence[Labelled], compute: ComputeParams) -> float:
    """KL(π ‖ π_ref) of the next token in nats, exact over the vocabulary, as a mean over all labelled positions.

    π_ref is the model with its adapter switched off. The prefixes are those of the sequences and not the model's own,
    so this is no estimate of the divergence between answers; it has no sampling noise and makes a smooth curve.
    """
    total, num_positions = 0.0, 0
    with evaluation_mode(model), autocast(model.device, compute):
        for rows in batches_by_length([len(sequence.input_ids) for sequence in sequences], _BATCH_TOKENS):
            input_ids, labels = _batch([sequences[row] for row in rows], model.device)
            is_answer = labels != IGNORED
            policy = _logits(model, input_ids, labels.shape[1])[is_answer].log_softmax(-1)
            with model.disable_adapter():
                reference = _logits(model, input_ids, labels.shape[1])[is_answer].log_softmax(-1)
            divergence = torch.nn.functional.kl_div(reference, policy, reduction="none", log_target=True)
            total += float(divergence.double().sum())
            num_positions += int(is_answer.sum())
    return total / num_positions


def _batch(sequences: Sequence[Labelled], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids [B, T - 1] that predict something, and labels [B, K] of the last K of them; K begins at the first label."""
    longest = max(len(sequence.input_ids) for sequence in sequences)
    input_ids = _padded([sequence.input_ids for sequence in sequences], 0, longest).to(device)[:, :-1]
    labels = _padded([sequence.labels for sequence in sequences], IGNORED, longest).to(device)[:, 1:]
    first = int((labels != IGNORED).any(dim=0).to(torch.int8).argmax())
    return input_ids, labels[:, first:]


def _logits(model: PreTrainedModel, input_ids: Tensor, num_kept: int) -> Tensor:
    """Logits of the last `num_kept` positions [B, K, V], in float32."""
    logits: Tensor = model(input_ids=input_ids, use_cache=False, logits_to_keep=num_kept).logits.float()
    return logits


def _padded(rows: Sequence[Sequence[int]], filler: int, length: int) -> Tensor:
    return torch.tensor([[*row, *[filler] * (length - len(row))] for row in rows])
