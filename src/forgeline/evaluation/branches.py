"""Log-likelihoods of several answers to one prompt, which is read once.

A row holds the prompt and its answers one after the other. Every answer begins at the position after the prompt and
attends to the prompt and to itself, so each is scored as if it stood there alone. The head computes logits only for the
tokens that predict a scored one. Families whose forward pass does not take such a mask, or whose windows it would
override, score each answer after a copy of the prompt.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from forgeline.core.errors import DataError
from forgeline.evaluation.likelihood import Span, span_logps
from forgeline.model.batches import evaluation_mode
from forgeline.model.traits import max_positions

# Llama, and those that differ from it in biases and norms alone.
_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True)
class Branches:
    """A prompt and the answers that may follow it, as token ids; none is empty."""

    prompt: list[int]
    answers: list[list[int]]

    @property
    def num_tokens(self) -> int:
        """Those that are read: the last token of an answer is only predicted."""
        return len(self.prompt) + sum(len(answer) - 1 for answer in self.answers)


def branch_logps(model: PreTrainedModel, rows: Sequence[Branches]) -> list[list[float]]:
    """Natural-log probabilities of whole answers, all rows in one forward pass.

    Args:
        model: A causal language model.
        rows: Prompts with their answers.

    Returns:
        For each row, in order, the sum over the tokens of every answer.

    Raises:
        DataError: A prompt with an answer is longer than the model's positions, or the logits are not numbers.
    """
    if not _reads_branches(model):
        return _after_copies(model, rows)
    _check_lengths(model, rows)
    layout = _Layout(rows, model.device)
    with evaluation_mode(model), torch.no_grad(), _head_reads(model, layout.rows, layout.predictors):
        logits = model(
            input_ids=layout.input_ids,
            attention_mask=layout.mask,
            position_ids=layout.position_ids,
            use_cache=False,
        ).logits[0].float()  # fmt: skip
    logps = logits.gather(1, layout.targets[:, None]).squeeze(1) - logits.logsumexp(dim=1)
    if bool(logps.isnan().any()):
        raise DataError("the model's logits are not numbers: its weights are corrupt or its training diverged")
    sums = torch.zeros(layout.num_answers, dtype=torch.float64, device=model.device)
    values = iter(sums.index_add_(0, layout.answers, logps.double()).tolist())
    return [[next(values) for _ in row.answers] for row in rows]


class _Layout:
    """Tensors of a batch of B rows, T tokens each with padding on the right, N scored tokens in all.

    Attributes:
        input_ids: [B, T].
        position_ids: [B, T].
        mask: Added to the scores, [B, 1, T, T].
        rows: [N] where each scored token stands.
        predictors: [N] the place in its row whose logits predict it.
        targets: [N] its id.
        answers: [N] the number of its answer, counted through the batch.
    """

    def __init__(self, rows: Sequence[Branches], device: torch.device) -> None:
        longest = max(row.num_tokens for row in rows)
        ids, positions, segments = [], [], []
        scored: list[tuple[int, int, int, int]] = []
        number = 0
        for index, row in enumerate(rows):
            tokens, places, parts = list(row.prompt), list(range(len(row.prompt))), [0] * len(row.prompt)
            for part, answer in enumerate(row.answers, start=1):
                before = [len(row.prompt) - 1, *range(len(tokens), len(tokens) + len(answer) - 1)]
                scored += [(index, place, target, number) for place, target in zip(before, answer, strict=True)]
                tokens += answer[:-1]
                places += range(len(row.prompt), len(row.prompt) + len(answer) - 1)
                parts += [part] * (len(answer) - 1)
                number += 1
            padding = longest - len(tokens)
            ids.append(tokens + [0] * padding)
            positions.append(places + [0] * padding)
            segments.append(parts + [-1] * padding)
        self.num_answers = number
        self.input_ids = torch.tensor(ids, device=device)
        self.position_ids = torch.tensor(positions, device=device)
        self.mask = _mask(torch.tensor(segments, device=device))
        self.rows, self.predictors, self.targets, self.answers = torch.tensor(scored, device=device).unbind(1)


def _mask(segments: torch.Tensor) -> torch.Tensor:
    """0 where a token may look, and the lowest number elsewhere, [B, 1, T, T]; `segments` is 0 in the prompt."""
    same = segments[:, :, None] == segments[:, None, :]
    visible = (same | (segments == 0)[:, None, :]).tril()
    mask = torch.zeros(visible.shape, device=segments.device)
    return mask.masked_fill_(~visible, torch.finfo(torch.float32).min)[:, None]


@contextmanager
def _head_reads(model: PreTrainedModel, rows: torch.Tensor, places: torch.Tensor) -> Iterator[None]:
    """While the block runs, the head gets the hidden states at [rows, places] alone, as one row."""

    def select(_head: torch.nn.Module, arguments: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (arguments[0][rows, places][None],)

    handle = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


def _reads_branches(model: PreTrainedModel) -> bool:
    config = model.config
    sliding = any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or [])
    sliding = sliding or (config.model_type == "mistral" and config.sliding_window is not None)
    return config.model_type in _FAMILIES and not sliding


def _check_lengths(model: PreTrainedModel, rows: Sequence[Branches]) -> None:
    limit = max_positions(model.config)
    longest = max(len(row.prompt) + max(map(len, row.answers)) for row in rows)
    if limit is not None and longest > limit + 1:  # the last token is only predicted, never read
        raise DataError(
            f"a prompt and its answer have {longest} tokens, more than the model's max_position_embeddings {limit}: "
            "shorten the question or its choices"
        )


def _after_copies(model: PreTrainedModel, rows: Sequence[Branches]) -> list[list[float]]:
    spans = [Span(row.prompt + answer, len(row.prompt)) for row in rows for answer in row.answers]
    num_tokens = len(spans) * max(len(span.input_ids) for span in spans)
    values = (float(logps.sum(dtype="float64")) for logps in span_logps(model, spans, batch_tokens=num_tokens))
    return [[next(values) for _ in row.answers] for row in rows]
