"""Log-likelihoods of given tokens: of documents, in windows, and of answers after a prompt.

Rows of similar length share a forward pass and are padded on the right: causal attention never looks there, so no mask
is needed. Logits are computed only for the positions that predict a scored token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from forgeline.core.errors import DataError
from forgeline.model.batches import batches_by_length, evaluation_mode
from forgeline.model.traits import max_positions


@dataclass(frozen=True)
class Span:
    """Tokens to run through a model, of which those from index `start` on are scored (`start` >= 1)."""

    input_ids: list[int]
    start: int


def span_logps(
    model: PreTrainedModel, spans: Sequence[Span], *, batch_tokens: int
) -> list[NDArray[np.float32]]:  # fmt: skip
    """Natural-log probabilities of the scored tokens of every span, given what stands before them.

    Args:
        model: A causal language model.
        spans: What to score.
        batch_tokens: Padded tokens of one forward pass (a single longer span goes alone).

    Returns:
        For each span, in order, an array [len(input_ids) - start].

    Raises:
        DataError: A span is longer than the model's positions, or the logits are not numbers.
    """
    limit = max_positions(model.config)
    longest = max((len(span.input_ids) for span in spans), default=0)
    if limit is not None and longest > limit + 1:  # the last token is only predicted, never read
        raise DataError(
            f"a text of {longest} tokens does not fit the model's max_position_embeddings {limit}: "
            "shorten it, or lower evaluate.scoring.window_tokens if it is a window of a document"
        )
    results: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(spans)
    with evaluation_mode(model), torch.no_grad():
        for rows in batches_by_length([len(span.input_ids) for span in spans], batch_tokens):
            for row, logps in zip(rows, _batch_logps(model, [spans[row] for row in rows]), strict=True):
                results[row] = logps
    return results


def document_spans(token_ids: Sequence[int], boundary_id: int, window_tokens: int) -> list[Span]:
    """Windows that score every token of a document once.

    The document starts after `boundary_id` (the end of the one before, as in training). One that is longer than a
    window goes on in windows that overlap by half, so that every later token sees at least half a window of context.
    """
    ids = [boundary_id, *token_ids]
    spans, scored_to = [], 1
    while scored_to < len(ids):
        begin = 0 if scored_to == 1 else scored_to - window_tokens // 2
        end = min(begin + window_tokens, len(ids))
        spans.append(Span(ids[begin:end], scored_to - begin))
        scored_to = end
    return spans


def _batch_logps(model: PreTrainedModel, spans: Sequence[Span]) -> list[NDArray[np.float32]]:
    longest = max(len(span.input_ids) for span in spans)
    ids = [span.input_ids + [0] * (longest - len(span.input_ids)) for span in spans]
    input_ids = torch.tensor(ids, device=model.device)
    first = min(span.start for span in spans)
    # The last token is only predicted, and the first scored one from the logits before it.
    logits = model(input_ids=input_ids[:, :-1], use_cache=False, logits_to_keep=longest - first).logits.float()
    targets = input_ids[:, first:]
    logps = logits.gather(2, targets[:, :, None]).squeeze(2) - logits.logsumexp(dim=2)
    scored = [row[span.start - first : len(span.input_ids) - first] for row, span in zip(logps, spans, strict=True)]
    if any(bool(row.isnan().any()) for row in scored):
        raise DataError("the model's logits are not numbers: its weights are corrupt or its training diverged")
    return [row.cpu().numpy() for row in scored]
