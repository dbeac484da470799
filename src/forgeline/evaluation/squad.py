"""Answers read out of a text, judged as the script of SQuAD 2.0 does (Rajpurkar et al. 2018, arXiv 1806.03822)."""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(answer: str) -> str:
    """In small letters, without ASCII punctuation, English articles and runs of white space."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, references: Sequence[str]) -> bool:
    """Whether the answer is one of the references, both normalized.

    Args:
        answer: Empty if none was given.
        references: Right answers; none means that the text does not say, and the empty answer is right.
    """
    return any(normalized(answer) == normalized(reference) for reference in _worded(references))


def token_f1(answer: str, references: Sequence[str]) -> float:
    """The best F1 of shared words, counted with repeats, over the references; arguments as for `exact_match`."""
    return max(_f1(normalized(answer).split(), normalized(reference).split()) for reference in _worded(references))


def _worded(references: Sequence[str]) -> list[str]:
    return [reference for reference in references if normalized(reference)] or [""]


def _f1(answer: list[str], reference: list[str]) -> float:
    if not answer or not reference:
        return float(answer == reference)
    shared = (Counter(answer) & Counter(reference)).total()
    return 2 * shared / (len(answer) + len(reference))
