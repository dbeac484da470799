"""The texts of evaluation sets that no training document may share: questions, choices, answers, preference pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from forgeline.core.errors import DataError
from forgeline.core.records import EvalSample, PreferencePair, read_records
from forgeline.text.decontaminate import shortest_run
from forgeline.text.shingles import hash_units


@dataclass(frozen=True)
class EvaluationText:
    """A text that must not be trained on.

    Attributes:
        text: The text.
        sample_id: The question or pair that it belongs to.
        task: The task that asks it.
    """

    text: str
    sample_id: str
    task: str


@dataclass(frozen=True)
class EvaluationSet:
    """The texts of one set.

    Attributes:
        name: Of the set.
        file: Where they came from, for messages.
        texts: The texts.
        may_be_short: Whether it is fine if none of them is long enough to be found, as with prompts of a few words.
    """

    name: str
    file: Path
    texts: Sequence[EvaluationText]
    may_be_short: bool = False


def question_texts(file: Path) -> EvaluationSet:
    """Prompts, choices and reference answers of questions; raises `DataError` as `read_records` does."""
    texts = [
        EvaluationText(text, sample.sample_id, sample.task)
        for sample in read_records(file, EvalSample)
        for text in [*(message["content"] for message in sample.prompt), *sample.choices, sample.reference]
    ]
    return EvaluationSet(file.parent.name, file, texts)


def pair_texts(file: Path) -> EvaluationSet:
    """Prompts and both answers of preference pairs; raises `DataError` as `read_records` does."""
    texts = [
        EvaluationText(text, pair.pair_id, pair.task)
        for pair in read_records(file, PreferencePair)
        for text in [*(message["content"] for message in pair.prompt), pair.chosen, pair.rejected]
    ]
    return EvaluationSet(file.parent.name, file, texts)


def count_too_short(evaluations: Sequence[EvaluationSet], num_words: int) -> dict[str, dict[str, int]]:
    """Evaluation set -> task -> texts that are shorter than the shortest run that is looked for.

    Raises:
        DataError: These are all texts of a set that may not be short.
    """
    counts: dict[str, dict[str, int]] = {}
    for evaluation in evaluations:
        lengths = _num_words(evaluation)
        longest = int(np.max(lengths, initial=0))
        if evaluation.texts and longest < shortest_run(num_words) and not evaluation.may_be_short:
            raise DataError(
                f"{evaluation.file}: no text has more than {longest} words, so none could be found in a document: runs "
                f"of {num_words} words are looked for and whole texts of {shortest_run(num_words)} or more; lower "
                f"curate.decontaminate_words to {max(2 * longest, 1)} or less"
            )
        tasks = counts.setdefault(evaluation.name, {})
        for entry, length in zip(evaluation.texts, lengths.tolist(), strict=True):
            tasks[entry.task] = tasks.get(entry.task, 0) + (length < shortest_run(num_words))
    return counts


def _num_words(evaluation: EvaluationSet) -> NDArray[np.int64]:
    column = pa.chunked_array([pa.array([entry.text for entry in evaluation.texts], pa.string())])
    return np.diff(hash_units(column, "words").starts)
