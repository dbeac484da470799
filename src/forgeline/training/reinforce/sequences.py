"""Prompts with their answers as rows of a forward pass: log-probabilities and values of every answered token."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from forgeline.model.compute import autocast
from forgeline.model.params import ComputeParams


@dataclass(frozen=True)
class Answer:
    """A different answer of a group: its tokens, what it earned, how often it was sampled."""

    output_ids: tuple[int, ...]
    reward: float
    count: int


@dataclass(frozen=True)
class Group:
    """A prompt and the different answers that were sampled to it."""

    prompt_ids: tuple[int, ...]
    answers: list[Answer]

    @property
    def length(self) -> int:
        """Tokens of the prompt and of all answers: one row of a forward pass."""
        return len(self.prompt_ids) + self.num_answered

    @property
    def num_answered(self) -> int:
        """Tokens of the different answers."""
        return sum(self.lengths)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each different answer."""
        return [len(answer.output_ids) for answer in self.answers]

    @property
    def counts(self) -> list[int]:
        """How often each different answer was sampled."""
        return [answer.count for answer in self.answers]


def group_answers(prompt_ids: tuple[int, ...], answers: Sequence[Sequence[int]], rewards: Sequence[float]) -> Group:
    """The different answers to a prompt in the order of their first occurrence, each with its number of copies."""
    copies = Counter(zip(map(tuple, answers), rewards, strict=True))
    return Group(prompt_ids, [Answer(ids, reward, count) for (ids, reward), count in copies.items()])


def answer_log_probabilities(
    model: PreTrainedModel, groups: Sequence[Group], temperature: float, compute: ComputeParams
) -> Tensor:
    """Log-probabilities of the whole vocabulary before every answered token, [answered tokens, vocabulary].

    Group after group, answer after answer, under softmax(logits / temperature). A group is one row: its prompt, which
    ends in the same column in every row, then all its answers. Each answer sees the prompt and itself and takes the
    positions that follow the prompt, so the result is that of every answer alone.
    """
    rows = _Rows(groups, model.device)
    with autocast(model.device, compute):
        logits = model(**rows.arguments(), logits_to_keep=rows.num_kept).logits
    used = logits[rows.row, rows.source - rows.first_kept].float()
    log_probabilities: Tensor = (used / temperature).log_softmax(dim=-1)
    return log_probabilities


def answer_hidden_states(trunk: torch.nn.Module, groups: Sequence[Group], compute: ComputeParams) -> Tensor:
    """Last hidden states before every answered token, [answered tokens, hidden size], in the same order.

    Args:
        trunk: The model without its head.
        groups: What was answered.
        compute: Precision.
    """
    device = next(trunk.parameters()).device
    rows = _Rows(groups, device)
    with autocast(device, compute):
        hidden: Tensor = trunk(**rows.arguments()).last_hidden_state
    return hidden[rows.row, rows.source].float()


def answered_ids(groups: Sequence[Group], device: torch.device) -> Tensor:
    """Every answered token, [answered tokens]."""
    return torch.tensor([token for group in groups for answer in group.answers for token in answer.output_ids],
                        device=device)  # fmt: skip


def token_counts(groups: Sequence[Group], device: torch.device) -> Tensor:
    """How often each answered token was sampled, [answered tokens]."""
    counts = torch.tensor([count for group in groups for count in group.counts], dtype=torch.float32)
    lengths = torch.tensor([length for group in groups for length in group.lengths])
    return counts.repeat_interleave(lengths).to(device)


class _Rows:
    """Groups laid out as the rows of a forward pass.

    Attributes:
        row: Of every answered token, [answered tokens].
        source: The column whose output predicts it.
        first_kept: The first column that predicts anything.
        num_kept: How many columns from there on.
    """

    def __init__(self, groups: Sequence[Group], device: torch.device) -> None:
        before = max(len(group.prompt_ids) for group in groups)
        longest = before + max(group.num_answered for group in groups)
        laid_out = torch.tensor([_layout(group, before, longest) for group in groups], device=device)
        self._input_ids, self._positions, self._segments, sources = laid_out.unbind(dim=1)  # [groups, longest] each
        self.row, column = (sources >= 0).nonzero(as_tuple=True)
        self.source = sources[self.row, column]
        self.first_kept = before - 1
        self.num_kept = longest - before + 1

    def arguments(self) -> dict[str, Tensor | bool]:
        """For the forward pass."""
        return {
            "input_ids": self._input_ids,
            "position_ids": self._positions,
            "attention_mask": _attention_mask(self._segments),
            "use_cache": False,
        }


def _layout(group: Group, before: int, longest: int) -> list[list[int]]:
    """Ids, positions, segments (prompt 0, answers from 1, padding -1) and sources of one row of `longest` columns.

    A source is the column whose logits predict the token, -1 where nothing was answered.
    """
    size = len(group.prompt_ids)
    ids, positions, segments, sources = list(group.prompt_ids), list(range(size)), [0] * size, [-1] * size
    for segment, answer in enumerate(group.answers, start=1):
        start, count = before - size + len(ids), len(answer.output_ids)
        ids += answer.output_ids
        positions += range(size, size + count)
        segments += [segment] * count
        sources += [before - 1, *range(start, start + count - 1)][:count]
    left, right = before - size, longest - before - group.num_answered
    return [
        [filler] * left + values + [filler] * right
        for values, filler in ((ids, 0), (positions, 0), (segments, -1), (sources, -1))
    ]


def _attention_mask(segments: Tensor) -> Tensor:
    """What is added to attention scores [groups, 1, columns, columns]: 0 where a token may look, else very negative.

    A token looks at itself and back at its own segment and the prompt's.
    """
    columns = torch.arange(segments.size(1), device=segments.device)
    back = columns[None, :] <= columns[:, None]
    same = segments[:, None, :] == segments[:, :, None]
    prompt = (segments == 0)[:, None, :] & (segments >= 0)[:, :, None]
    itself = columns[None, :] == columns[:, None]
    seen = back & (same | prompt) & (segments >= 0)[:, None, :] | itself
    closed = torch.finfo(torch.bfloat16).min  # float32 holds it too
    return torch.zeros(seen.shape, device=segments.device).masked_fill(~seen, closed)[:, None]
