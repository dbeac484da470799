"""A count-based language model: the baseline that a neural base model has to beat on the same tokens.

Interpolated Witten-Bell smoothing (Witten & Bell 1991; Chen & Goodman 1999, eq. 15-17):

    P_n(w | h) = (c(h, w) + T(h) P_{n-1}(w | h')) / (c(h) + T(h))

with c the counts in the training stream, T(h) the number of different tokens that follow h, h' the history without its
oldest token, and P_0 uniform over the vocabulary. An unseen history falls back to the shorter one.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.params import Section

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class BaselineParams(Section):
    """Section `baseline`: the order of the n-gram model, 3 for a trigram."""

    ngram_order: int = Field(ge=1, le=6)


@dataclass(frozen=True)
class _Order:
    """Counts of one order, keyed by the tokens as digits of a base-`vocab_size` number, sorted for binary search."""

    grams: Ints
    gram_counts: Ints
    histories: Ints
    history_counts: Ints
    history_types: Ints


class NgramModel:
    """An n-gram model over token ids.

    Raises:
        ParamsError: vocab_size ** order does not fit 63 bits.
        DataError: The training stream is shorter than one n-gram.
    """

    def __init__(self, stream: Ints, order: int, vocab_size: int) -> None:
        if order * math.log2(vocab_size) >= 63:
            raise ParamsError(
                f"params.yaml: baseline.ngram_order {order} is too high for {vocab_size} tokens: lower it"
            )
        if len(stream) < order:
            raise DataError(f"the training stream has {len(stream)} tokens, fewer than baseline.ngram_order {order}")
        self._vocab_size = vocab_size
        self._orders = [self._count(stream, n) for n in range(1, order + 1)]

    def log_probabilities(self, stream: Ints) -> Floats:
        """Natural log of P for every token of `stream` but the first, given up to order - 1 tokens before it."""
        probability = np.full(len(stream) - 1, 1.0 / self._vocab_size)
        for n, counts in enumerate(self._orders, start=1):
            first = max(0, n - 2)  # the earliest predicted token that has n - 1 tokens before it
            keys = self._keys(stream, n)[1 if n == 1 else 0 :]
            seen = _look_up(counts.grams, counts.gram_counts, keys)
            history = keys // self._vocab_size
            total = _look_up(counts.histories, counts.history_counts, history)
            types = _look_up(counts.histories, counts.history_types, history)
            shorter = probability[first:]
            mixed = (seen + types * shorter) / np.maximum(total + types, 1)
            probability[first:] = np.where(total > 0, mixed, shorter)
        result: Floats = np.log(probability)
        return result

    def _count(self, stream: Ints, n: int) -> _Order:
        grams, gram_counts = np.unique(self._keys(stream, n), return_counts=True)
        histories, start = np.unique(grams // self._vocab_size, return_index=True)
        return _Order(
            grams=grams,
            gram_counts=gram_counts,
            histories=histories,
            history_counts=np.add.reduceat(gram_counts, start),
            history_types=np.diff(np.append(start, len(grams))),
        )

    def _keys(self, stream: Ints, n: int) -> Ints:
        keys = np.zeros(len(stream) - n + 1, dtype=np.int64)
        for offset in range(n):
            keys = keys * self._vocab_size + stream[offset : len(stream) - n + 1 + offset]
        return keys


def bits_per_byte(model: NgramModel, documents: list[list[int]], boundary: int, num_bytes: int) -> float:
    """Bits per UTF-8 byte over documents and their end tokens.

    Args:
        model: The counted model.
        documents: Token ids of each document.
        boundary: Id of the end-of-document token; the history restarts behind it.
        num_bytes: UTF-8 bytes of all the texts.
    """
    nats = 0.0
    for ids in documents:
        nats -= float(model.log_probabilities(np.array([boundary, *ids, boundary], dtype=np.int64)).sum())
    return nats / math.log(2) / num_bytes


def _look_up(keys: Ints, values: Ints, wanted: Ints) -> Ints:
    """`values` where `keys` (sorted) equal `wanted`, else 0."""
    position = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[position] == wanted, values[position], 0)
