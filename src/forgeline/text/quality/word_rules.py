"""Puts the rules for splitting words into the tables that the kernels read."""

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from forgeline.text.kernels import classes
from forgeline.text.kernels.affixes import HASH_BASE, LONGEST_SPECIAL, NO_CASE, UNIT, slot_of
from forgeline.text.kernels.tables import SpecialCases, WordRules
from forgeline.text.kernels.words import split_chunk
from forgeline.text.quality.characters import byte_classes, character_classes
from forgeline.text.quality.special_cases import special_cases, units

_SMALLEST_TABLE = 64
_MOST_WORDS = 3  # of a special case
_LONGEST_POWER = 1024  # powers of the hash base for longer words are computed when needed
_MODULUS = 1 << 64


@cache
def word_rules() -> WordRules:
    """The rules for English, which serve any language with spaces; not to be changed. Takes a tenth of a second."""
    cases = special_cases()
    names = list(cases)
    keys, rows = hash_table([*(hash_of(name) for name in names), *(hash_of(unit) ^ UNIT for unit in units())])
    return _with_patterns(
        WordRules(
            classes=character_classes(),
            byte_classes=byte_classes(character_classes()),
            powers=np.array([_signed(pow(HASH_BASE, size, _MODULUS)) for size in range(_LONGEST_POWER)], np.int64),
            cases=SpecialCases(
                lengths=_lengths(names),
                keys=keys,
                rows=np.where(rows < len(names), rows, NO_CASE),
                ends=_ends(cases.values(), _MOST_WORDS),
                patterns=np.zeros((len(names), LONGEST_SPECIAL), np.int8),
            ),
        ),
        names,
    )


def hash_of(word: str) -> int:
    """The hash that kernels give a word, as a signed 64-bit number."""
    key = 0
    for character in word:
        key = (key * HASH_BASE + ord(character) + 1) % _MODULUS
    return _signed(key)


def hash_table(keys: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """An open-addressing table of hashes for kernels, at most a quarter full, and which stands at each place."""
    size = _SMALLEST_TABLE
    while size < 4 * len(keys):
        size *= 2
    table, rows = np.zeros(size, np.int64), np.zeros(size, np.int64)
    for row, key in enumerate(keys):
        slot = slot_of(key, table)
        table[slot], rows[slot] = key, row
    return table, rows


def split_by(rules: WordRules, chunk: str) -> list[str]:
    """The words of one chunk, characters without white space."""
    points = np.array([ord(character) for character in chunk], np.int32)
    cuts = np.empty((3, points.size), np.int64)
    count = split_chunk(points, rules.classes[points], points.size, rules.cases, cuts)
    ends = cuts[0, :count].tolist()
    return [chunk[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _with_patterns(rules: WordRules, names: list[str]) -> WordRules:
    """The rules with what the other rules make of special cases, so that those are known where others cut them."""
    without_cases = rules._replace(cases=rules.cases._replace(lengths=np.zeros_like(rules.cases.lengths)))
    patterns = [split_by(without_cases, name) for name in names]
    several = [words if len(words) > 1 else [] for words in patterns]
    table = rules.classes.copy()
    for words in filter(None, several):
        table[ord(words[0][0])] |= np.uint32(classes.SPECIAL_FIRST)
        table[ord(words[1][0])] |= np.uint32(classes.SPECIAL_SECOND)
    cases = rules.cases._replace(patterns=_ends(several, LONGEST_SPECIAL))
    return rules._replace(classes=table, cases=cases)


def _lengths(names: Iterable[str]) -> NDArray[np.int64]:
    lengths = np.zeros(129, np.int64)
    for name in names:
        lengths[min(ord(name[0]), 128)] |= 1 << len(name)
    return lengths


def _ends(cases: Iterable[Iterable[str]], width: int) -> NDArray[np.int8]:
    ends = [list(np.cumsum([len(word) for word in words], dtype=np.int64)) for words in cases]
    return np.array([row + [0] * (width - len(row)) for row in ends], np.int8)


def _signed(key: int) -> int:
    return key - _MODULUS if key >= _MODULUS // 2 else key
