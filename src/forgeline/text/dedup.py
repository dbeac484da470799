"""Removes copies: documents with the same words, then near copies by MinHash. The first of each cluster survives."""

from collections.abc import Sequence
from dataclasses import dataclass

from forgeline.core.storage import sha256_text
from forgeline.text.minhash import MinHashParams, near_copies


@dataclass(frozen=True)
class Copy:
    """A document that another one makes superfluous.

    Attributes:
        index: Its position.
        survivor: The position of the document that stays for it, always an earlier one.
        reason: `exact_duplicate` or `near_duplicate`.
    """

    index: int
    survivor: int
    reason: str


def find_copies(texts: Sequence[str], params: MinHashParams) -> list[Copy]:
    """All documents to drop, by position. Everything else stays."""
    firsts = exact_copies(texts)
    distinct = [index for index, first in enumerate(firsts) if index == first]
    near = near_copies([texts[index] for index in distinct], params)
    survivors = {index: distinct[int(leader)] for index, leader in zip(distinct, near, strict=True)}
    copies = []
    for index, first in enumerate(firsts):
        survivor = survivors[first]
        if survivor != index:
            copies.append(Copy(index, survivor, "near_duplicate" if index == first else "exact_duplicate"))
    return copies


def exact_copies(texts: Sequence[str]) -> list[int]:
    """For each text the position of the first one that equals it but for case and white space."""
    firsts: dict[str, int] = {}
    return [firsts.setdefault(normal_hash(text), index) for index, text in enumerate(texts)]


def normal_hash(text: str) -> str:
    """The SHA-256 of the text in lower case with every run of white space as one blank."""
    return sha256_text(" ".join(text.lower().split()))
