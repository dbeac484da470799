"""Finds documents that share text with something they must not share it with: held-out questions, or training answers.

A document shares a text when both contain the same run of `num_words` consecutive words (lower case, punctuation
ignored), as in GPT-3 (Brown et al., 2020, appendix C). A text with fewer words counts as one run as long as it has half
as many; shorter ones ("Yes.") are too common to mean anything and match nothing.
"""

from collections.abc import Sequence

import numpy as np

from forgeline.core.records import EvalSample
from forgeline.text.shingles import Hashes, Indices, Words, hash_runs, hash_words


def find_contaminated(texts: Sequence[str], samples: Sequence[EvalSample], num_words: int) -> dict[int, str]:
    """Positions of texts that share a run with a prompt, a choice or a reference answer of an evaluation sample.

    Args:
        texts: The documents.
        samples: The questions whose words must not be trained on.
        num_words: Length of the run.

    Returns:
        Position, ascending, to the id of a sample that it shares a run with.
    """
    questions = [(text, sample.sample_id) for sample in samples for text in _texts_of(sample)]
    return find_sharing(texts, questions, num_words)


def find_sharing(texts: Sequence[str], others: Sequence[tuple[str, str]], num_words: int) -> dict[int, str]:
    """Positions of texts that share a run with one of `others`, which are (text, id); see `find_contaminated`."""
    other_words, own_words = hash_words(text for text, _ in others), hash_words(texts)
    lengths = np.diff(other_words.starts)
    found: dict[int, str] = {}
    for size in range((num_words + 1) // 2, num_words + 1):
        wanted, owners = hash_runs(other_words, size)
        if size < num_words:  # only what is that short as a whole
            whole = lengths[owners] == size
            wanted, owners = wanted[whole], owners[whole]
        for position, other in _first_matches(own_words, wanted, owners, size).items():
            found.setdefault(position, others[other][1])
    return dict(sorted(found.items()))


def _first_matches(words: Words, wanted: Hashes, owners: Indices, size: int) -> dict[int, int]:
    """Document -> first owner of a wanted run of `size` words that the document contains."""
    if not len(wanted):
        return {}
    wanted, first = np.unique(wanted, return_index=True)
    runs, documents = hash_runs(words, size)
    place = np.minimum(np.searchsorted(wanted, runs), len(wanted) - 1)
    hits = np.flatnonzero(wanted[place] == runs)
    positions, first_hits = np.unique(documents[hits], return_index=True)
    matched = owners[first[place[hits[first_hits]]]]
    return {int(position): int(owner) for position, owner in zip(positions, matched, strict=True)}


def _texts_of(sample: EvalSample) -> list[str]:
    return [*(message["content"] for message in sample.prompt), *sample.choices, sample.reference]
