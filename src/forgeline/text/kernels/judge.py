"""Applies the four families of quality rules to one document after another."""

import numpy as np
from numpy.typing import NDArray

from forgeline.text.kernels.c4 import C4Limits, copy, rewrite
from forgeline.text.kernels.fineweb import FineWebLimits, judge_fineweb
from forgeline.text.kernels.gopher_quality import QualityLimits, judge_quality
from forgeline.text.kernels.gopher_repetition import RepetitionLimits, judge_repetition
from forgeline.text.kernels.inner import ZERO, entry
from forgeline.text.kernels.scan import scan
from forgeline.text.kernels.tables import Bytes, Longs, Room, WordRules

# Families in their order; the rules of each count from 1.
GOPHER_REPETITION, GOPHER_QUALITY, C4, FINEWEB = 0, 1, 2, 3


@entry
def judge_documents(
    text: Bytes,
    offsets: Longs,
    repetition: RepetitionLimits,
    quality: QualityLimits,
    c4: C4Limits,
    fineweb: FineWebLimits,
    rules: WordRules,
    unspaced: bool,
    room: Room,
    families: Bytes,
    broken: Bytes,
    values: NDArray[np.float64],
    out: Bytes,
    out_offsets: Longs,
) -> None:
    """Finds for every document the first rule that it breaks, and writes the texts as C4's rules leave them.

    Args:
        text: UTF-8 of all documents.
        offsets: (n + 1,) where each begins, and where the last one ends.
        repetition: Limits of the first family.
        quality: Of the second.
        c4: Of the third.
        fineweb: Of the fourth.
        rules: For splitting words.
        unspaced: Whether letters of scripts without spaces are words.
        room: See there.
        families: (n,) written: whose rule a document breaks.
        broken: (n,) written: the number of the rule in that family, 0 if it breaks none.
        values: (n,) written: what was measured against the rule's limit; not a number if it breaks none.
        out: Written if C4's rules are applied: the texts, those of dropped documents unchanged; as large as all.
        out_offsets: (n + 1,) written: where each text begins in `out`, and where the last one ends.
    """
    written = ZERO
    for document in range(offsets.size - 1):
        start, end = offsets[document], offsets[document + 1]
        counts = scan(text, start, end, rules, unspaced, room)
        family, rule, value = GOPHER_REPETITION, ZERO, 0.0
        out_offsets[document] = written
        out_end = written
        if repetition.enabled:
            rule, value = judge_repetition(text, start, end, counts, repetition, rules, room)
        if rule == 0 and quality.enabled:
            family = GOPHER_QUALITY
            rule, value = judge_quality(text, counts, quality, room)
        num_words = counts.num_words
        if rule == 0 and c4.enabled:
            family = C4
            left = rewrite(text, counts, c4, rules, unspaced, room, out, written)
            rule, value, out_end, num_words = left.rule, left.value, left.end, left.num_words
        if rule == 0 and fineweb.enabled:
            family = FINEWEB
            if c4.enabled:
                rule, value = judge_fineweb(out, written, out_end, num_words, fineweb, rules, room)
            else:
                rule, value = judge_fineweb(text, start, end, num_words, fineweb, rules, room)
        if rule != 0 and c4.enabled:
            out_end = copy(text, start, end, out, written)
        families[document] = family
        broken[document] = rule
        values[document] = value if rule != 0 else np.nan
        written = out_end
    out_offsets[offsets.size - 1] = written
