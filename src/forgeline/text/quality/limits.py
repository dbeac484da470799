"""Turns the params of the quality rules into what their kernels compare with."""

import math
from collections.abc import Sequence

import numpy as np

from forgeline.text.kernels.c4 import C4Limits
from forgeline.text.kernels.characters import LOWER, character_table
from forgeline.text.kernels.fineweb import FineWebLimits
from forgeline.text.kernels.gopher_quality import QualityLimits
from forgeline.text.kernels.gopher_repetition import RepetitionLimits
from forgeline.text.kernels.phrases import Phrases
from forgeline.text.quality.params import (
    C4Params,
    FineWebParams,
    GopherQualityParams,
    GopherRepetitionParams,
    QualityParams,
)
from forgeline.text.quality.word_rules import hash_of, hash_table

_NOTES = (b"[edit]", b"[citation needed]")
_KELVIN_SIGN = "\u212a".encode()  # the one character beyond ASCII whose lower case is an ASCII letter, k


def limits_of(params: QualityParams) -> tuple[RepetitionLimits, QualityLimits, C4Limits, FineWebLimits]:
    """The limits of all families, in their order."""
    return (
        _repetition(params.gopher_repetition),
        _quality(params.gopher_quality),
        _c4(params.c4),
        _fineweb(params.fineweb),
    )


def _most(threshold: float | None) -> float:
    return math.inf if threshold is None else float(threshold)


def _least(threshold: float | None) -> float:
    return -math.inf if threshold is None else float(threshold)


def _repetition(params: GopherRepetitionParams) -> RepetitionLimits:
    top = [getattr(params, f"max_top_{size}gram_character_fraction") for size in range(2, 5)]
    duplicate = [getattr(params, f"max_duplicate_{size}gram_character_fraction") for size in range(5, 11)]
    return RepetitionLimits(
        enabled=params.enabled,
        paragraphs=_most(params.max_duplicate_paragraph_fraction),
        paragraph_characters=_most(params.max_duplicate_paragraph_character_fraction),
        lines=_most(params.max_duplicate_line_fraction),
        line_characters=_most(params.max_duplicate_line_character_fraction),
        top_grams=np.array([_most(threshold) for threshold in top], np.float64),
        duplicate_grams=np.array([_most(threshold) for threshold in duplicate], np.float64),
    )


def _quality(params: GopherQualityParams) -> QualityLimits:
    stop_words = sorted(set(params.stop_words))
    return QualityLimits(
        enabled=params.enabled,
        min_words=_least(params.min_words),
        max_words=_most(params.max_words),
        min_mean_length=_least(params.min_mean_word_length),
        max_mean_length=_most(params.max_mean_word_length),
        hash_signs=_most(params.max_hash_word_ratio),
        ellipses=_most(params.max_ellipsis_word_ratio),
        bullet_lines=_most(params.max_bullet_line_fraction),
        ellipsis_lines=_most(params.max_ellipsis_line_fraction),
        min_with_letter=_least(params.min_alphabetic_word_fraction),
        min_stop_words=_least(params.min_stop_words),
        stop_words=hash_table([hash_of(word) for word in stop_words])[0],
    )


def _c4(params: C4Params) -> C4Limits:
    groups = (params.document_phrases, params.line_phrases, params.policy_phrases)
    sizes = [len(group) for group in groups]
    bits = [((1 << size) - 1) << sum(sizes[:number]) for number, size in enumerate(sizes)]
    notes = b"".join(bytes([len(note)]) + note for note in _NOTES)
    return C4Limits(
        enabled=params.enabled,
        max_word_characters=_most(params.max_word_characters),
        remove_citations=params.remove_citations,
        any_ending=params.terminal_punctuation is None,
        endings=np.array([ord(mark) for mark in params.terminal_punctuation or ()], np.int32),
        min_chunks=_least(params.min_words_per_line),
        phrases=_phrases([phrase for group in groups for phrase in group]),
        document_phrases=bits[0],
        line_phrases=bits[1],
        policy_phrases=bits[2],
        drop_curly_brackets=params.drop_curly_brackets,
        min_sentences=_least(params.min_sentences),
        notes=np.frombuffer(notes, np.uint8),
    )


def _fineweb(params: FineWebParams) -> FineWebLimits:
    return FineWebLimits(
        enabled=params.enabled,
        min_punctuated=_least(params.min_punctuated_line_fraction),
        max_short=_most(params.max_short_line_fraction),
        short_characters=params.short_line_characters,
        duplicate_characters=_most(params.max_duplicate_line_character_fraction),
        newlines=_most(params.max_newline_word_ratio),
    )


def _phrases(phrases: Sequence[str]) -> Phrases:
    lower = [[int(character_table()[ord(character)] & LOWER) for character in phrase] for phrase in phrases]
    starts = np.zeros(len(lower) + 1, np.int64)
    np.cumsum([len(points) for points in lower], out=starts[1:])
    masks = np.zeros((3, 256), np.int64)
    for number, points in enumerate(lower):
        for row, possible in zip(masks, _possible_bytes(points), strict=True):
            row[possible] |= 1 << number
    first, second, third = masks
    return Phrases(
        first,
        second,
        third,
        np.array([point for points in lower for point in points], np.int32),
        starts,
        character_table(),
    )


def _possible_bytes(points: Sequence[int]) -> list[list[int]]:
    """The bytes that a text with this phrase, in any case, can have in its first, second and third place.

    Up to the first character that may take several bytes they are known; from there on any byte is possible.
    """
    possible: list[list[int]] = []
    for point in points[:3]:
        letter = chr(point)
        if point >= 0x80:
            possible.append(list(range(0x80, 0x100)))
            break
        if letter == "k":
            possible.append([ord("k"), ord("K"), _KELVIN_SIGN[0]])
            break
        possible.append(sorted({point, ord(letter.upper())}))
    return possible + [list(range(0x100))] * (3 - len(possible))
