"""What the kernels compute, once more in plain Python: slow, and written from the description alone."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

WITHOUT_BLANKS = (
    "BOPOMOFO",
    "CJK COMPATIBILITY IDEOGRAPH",
    "CJK UNIFIED IDEOGRAPH",
    "HALFWIDTH KATAKANA",
    "HANGZHOU NUMERAL",
    "HENTAIGANA",
    "HIRAGANA",
    "IDEOGRAPHIC CLOSING",
    "IDEOGRAPHIC ITERATION",
    "IDEOGRAPHIC NUMBER",
    "KATAKANA",
    "KHMER",
    "LAO",
    "MYANMAR",
    "THAI",
)


@cache
def is_word_by_itself(character: str) -> bool:
    return bool(re.match(r"\w", character)) and unicodedata.name(character, "").startswith(WITHOUT_BLANKS)


def lower(text: str) -> str:
    """One character for each: the dotted capital I becomes i, the final sigma the other one."""
    return "".join(character.lower()[0] for character in text).replace("\u03c2", "\u03c3")


def words_of(text: str) -> list[str]:
    words: list[str] = []
    for run in re.findall(r"\w+", text):
        current = ""
        for character in run:
            if is_word_by_itself(character):
                words += [current, character]
                current = ""
            else:
                current += character
        words.append(current)
    return [lower(word) for word in words if word]


def characters_of(text: str) -> str:
    return lower(" ".join(re.findall(r"\w+", text)))


def folded(text: str) -> str:
    return " ".join(lower(text).split())


def runs_of(units: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(units[start : start + size]) for start in range(len(units) - size + 1)]


def jaccard(first: str, second: str, size: int = 5) -> float:
    one, two = set(runs_of(words_of(first), size)), set(runs_of(words_of(second), size))
    return len(one & two) / len(one | two)


def shares(text: str, other: str, size: int) -> bool:
    """Whether `text` holds a run of `size` words of `other`, or all of it if it has at least half as many."""
    length = min(size, len(words_of(other)))
    return length >= size / 2 and bool(set(runs_of(words_of(text), length)) & set(runs_of(words_of(other), length)))


def firsts_of(num_documents: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """The first document of each one's cluster, when the pairs are joined."""
    clusters = [{number} for number in range(num_documents)]
    for first, second in pairs:
        joined = clusters[first] | clusters[second]
        for member in joined:
            clusters[member] = joined
    return [min(cluster) for cluster in clusters]
