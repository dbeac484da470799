"""Finds documents that contain a piece of an evaluation question, as GPT-3 did (Brown et al., 2020, appendix C).

A document is contaminated when it shares a run of `num_words` consecutive words (lower case, punctuation ignored) with
a prompt, a choice or a reference answer. Evaluation texts shorter than the run cannot be recognised and match nothing.
"""

from collections.abc import Sequence

import numpy as np

from forgeline.core.records import EvalSample
from forgeline.text.shingles import hash_runs, hash_words


def find_contaminated(texts: Sequence[str], samples: Sequence[EvalSample], num_words: int) -> dict[int, str]:
    """Positions of contaminated texts, ascending, each with the id of the first sample that it shares a run with.

    Args:
        texts: The documents.
        samples: The questions whose words must not be trained on.
        num_words: Length of the run.
    """
    questions = [(text, sample.sample_id) for sample in samples for text in _texts_of(sample)]
    wanted, askers = hash_runs(hash_words(text for text, _ in questions), num_words)
    if not len(wanted):
        return {}
    wanted, first = np.unique(wanted, return_index=True)
    runs, owners = hash_runs(hash_words(texts), num_words)
    place = np.minimum(np.searchsorted(wanted, runs), len(wanted) - 1)
    hits = np.flatnonzero(wanted[place] == runs)
    documents, first_hits = np.unique(owners[hits], return_index=True)
    askers_of_hits = askers[first[place[hits[first_hits]]]]
    return {int(doc): questions[int(asker)][1] for doc, asker in zip(documents, askers_of_hits, strict=True)}


def _texts_of(sample: EvalSample) -> list[str]:
    return [*(message["content"] for message in sample.prompt), *sample.choices, sample.reference]
