"""Judges documents by the published quality rules: Gopher repetition, Gopher quality, C4, FineWeb, in that order.

The reference is datatrove, whose decisions these are in at least 999 of 1,000 cases (docs/cleaning-parity.md), at some
hundred times its speed: text stays in Arrow's buffers, each document is taken apart once for all families, and the
work is done without the GIL.
"""

import ctypes
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from forgeline.text.buffers import as_buffers, from_buffers
from forgeline.text.kernels.judge import judge_documents
from forgeline.text.quality.limits import limits_of
from forgeline.text.quality.params import FAMILIES, QualityParams
from forgeline.text.quality.word_rules import word_rules
from forgeline.text.quality.working_room import working_room

KEPT = 0
# Names of the rules that documents are dropped for, family by family in the order in which kernels number them.
RULES: dict[str, tuple[str, ...]] = {
    "gopher_repetition": (
        "gopher_empty",
        "gopher_duplicate_paragraphs",
        "gopher_duplicate_paragraph_characters",
        "gopher_duplicate_lines",
        "gopher_duplicate_line_characters",
        *(f"gopher_top_{size}gram" for size in range(2, 5)),
        *(f"gopher_duplicate_{size}grams" for size in range(5, 11)),
    ),
    "gopher_quality": (
        "gopher_too_few_words",
        "gopher_too_many_words",
        "gopher_short_words",
        "gopher_long_words",
        "gopher_too_many_hash_signs",
        "gopher_too_many_ellipses",
        "gopher_too_many_bullet_lines",
        "gopher_too_many_ellipsis_lines",
        "gopher_too_few_alphabetic_words",
        "gopher_too_few_stop_words",
    ),
    "c4": ("c4_document_phrase", "c4_curly_bracket", "c4_too_few_sentences", "c4_no_lines_left"),
    "fineweb": (
        "fineweb_empty",
        "fineweb_too_few_punctuated_lines",
        "fineweb_too_many_short_lines",
        "fineweb_duplicate_lines",
        "fineweb_too_many_newlines",
    ),
}
# A code of `Judgement.reasons` is a position here; 0 is a kept document's.
REASONS: tuple[str, ...] = ("kept", *(name for family in FAMILIES for name in RULES[family]))
_FIRST_CODES = np.cumsum([1, *(len(RULES[family]) for family in FAMILIES)])


@dataclass(frozen=True)
class Judgement:
    """What the rules say about N documents.

    Attributes:
        texts: (N,) strings, of kept documents as C4's rules leave them, of dropped ones as they were.
        reasons: (N,) uint8, positions in `REASONS`: the first rule that the document breaks.
        values: (N,) float64, what was measured against that rule's threshold; not a number for kept documents.
    """

    texts: pa.Array
    reasons: NDArray[np.uint8]
    values: NDArray[np.float64]

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(N,) whether each document stays."""
        kept: NDArray[np.bool_] = self.reasons == KEPT
        return kept


def judge(texts: pa.Array, params: QualityParams) -> Judgement:
    """Applies the rules to documents of one language.

    Can run in several threads at once. Families that are switched off are skipped; `params.only(family)` leaves one.

    Args:
        texts: (N,) `pa.string()` or `pa.large_string()`, without nulls.
        params: Thresholds.

    Raises:
        ValueError: There are nulls among the texts.
    """
    if texts.null_count:
        raise ValueError(f"{texts.null_count} texts are null: a document without text cannot be judged")
    content, offsets = as_buffers(texts)
    size = int(offsets[-1] - offsets[0])
    families, broken = np.empty(len(texts), np.uint8), np.empty(len(texts), np.uint8)
    values = np.empty(len(texts), np.float64)
    rewritten = np.empty(size if params.c4.enabled else 0, np.uint8)
    rewritten_offsets = np.empty(offsets.size, np.int64)
    longest = int(np.diff(offsets).max(initial=0))
    judge_documents(
        _as_if_writable(content),
        offsets,
        *limits_of(params),
        word_rules(),
        params.words == "characters",
        working_room(longest),
        families,
        broken,
        values,
        rewritten,
        rewritten_offsets,
    )
    reasons = np.where(broken > 0, _FIRST_CODES[families] + broken - 1, KEPT).astype(np.uint8)
    if params.c4.enabled:
        texts = from_buffers(rewritten[: rewritten_offsets[-1]], rewritten_offsets)
    return Judgement(texts, reasons, values)


def _as_if_writable(content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same bytes as an array of the type that kernels write to, so that they are compiled for that type alone.

    Arrow's buffers are read-only, and Numba would compile all that reads them a second time for lines that C4's rules
    have rewritten. No kernel writes to its `text`.
    """
    if content.size == 0:
        return np.empty(0, np.uint8)
    # Not `ctypes.data_as`, whose result keeps itself, and with it the text of the shard, alive in a reference cycle.
    view = memoryview((ctypes.c_uint8 * content.size).from_address(content.ctypes.data)).cast("B")
    return np.frombuffer(view, np.uint8)
