"""How much of each evaluation set stands in training text: prompts, and answers that count as right."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from forgeline.core.params import Section
from forgeline.core.records import Conversation, Counts, EvalSample, Message, PreferencePair
from forgeline.evaluation.scores import proportion
from forgeline.evaluation.task_files.definition import (
    ChoiceTaskFile,
    ExtractionTaskFile,
    GenerationTaskFile,
    HarnessTaskFile,
    read_definition,
)
from forgeline.evaluation.task_files.questions import (
    Asked,
    choice_samples,
    extraction_questions,
    prompts_only,
    result_questions,
)
from forgeline.text.overlap import RunSearch, pieces

PROMPTS, ANSWERS = "prompts", "answers"


class ContaminationParams(Section):
    """Section `contamination`: texts that share a run of `shared_words` words with training text are counted."""

    shared_words: int = Field(ge=1)


@dataclass(frozen=True)
class Asking:
    """A text of an evaluation set: part of a prompt or a right answer."""

    task: str
    part: str
    text: str


@dataclass(frozen=True)
class Training:
    """All text that models learn from: documents of the corpus, what is said in conversations, and pairs."""

    corpus: pa.ChunkedArray
    conversations: Sequence[Conversation]
    pairs: Sequence[PreferencePair]

    def by_kind(self) -> dict[str, pa.ChunkedArray]:
        """Texts by the stage's word for them."""
        said = [message["content"] for chat in self.conversations for message in chat.messages]
        answers = [message["content"] for pair in self.pairs for message in pair.prompt]
        answers += [text for pair in self.pairs for text in (pair.chosen, pair.rejected)]
        return {"corpus": self.corpus, "instructions": _column(said), "preferences": _column(answers)}


@dataclass(frozen=True)
class Contamination:
    """What was found.

    Attributes:
        counts: Texts in; out are those that are long enough to be looked for.
        tasks: By task and part: shares found in each kind of training text and in any.
        unchecked: Tasks whose questions this repository does not hold.
    """

    counts: Counts
    tasks: dict[str, dict[str, dict[str, Any]]]
    unchecked: list[str]


def measure_contamination(
    documents: pa.Table,
    questions: Sequence[EvalSample],
    preferences: Sequence[PreferencePair],
    tasks: Path,
    training: Training,
    params: ContaminationParams,
) -> Contamination:
    """Looks for the texts of every evaluation set in all training text.

    Args:
        documents: Held-out documents, the set of task `perplexity`; each is a prompt.
        questions: Held-out questions.
        preferences: Held-out pairs; the chosen answer is the right one.
        tasks: Folder of task definitions, all of which are looked at.
        training: What models learn from.
        params: The section.

    Raises:
        ParamsError: A definition is not valid.
        DataError: The questions of one are wrong.
    """
    asking = [Asking("perplexity", PROMPTS, text) for text in documents["text"].to_pylist()]
    for sample in questions:
        asking += _texts(sample.task, sample.prompt, [sample.reference])
    for pair in preferences:
        asking += _texts("preference", pair.prompt, [pair.chosen])
    names = sorted(file.stem for file in tasks.glob("*.yaml"))
    unchecked = [name for name in names if isinstance(read_definition(tasks, name), HarnessTaskFile)]
    for name in names:
        if name not in unchecked:
            asking += _of_file(tasks, name)
    search = RunSearch([entry.text for entry in asking], params.shared_words)
    found = {kind: search.found_in(pieces(texts)) for kind, texts in training.by_kind().items()}
    found["any"] = np.logical_or.reduce(list(found.values()))
    short = int((~search.long_enough).sum())
    counts = Counts(len(asking), len(asking) - short, {"too_short": short} if short else {})
    return Contamination(counts, _shares(asking, search.long_enough, found), unchecked)


def _shares(
    asking: Sequence[Asking], long_enough: np.ndarray[Any, Any], found: Mapping[str, np.ndarray[Any, Any]]
) -> dict[str, dict[str, dict[str, Any]]]:
    members: dict[tuple[str, str], list[int]] = {}
    for index, entry in enumerate(asking):
        members.setdefault((entry.task, entry.part), []).append(index)
    tasks: dict[str, dict[str, dict[str, Any]]] = {}
    for (task, part), indices in members.items():
        shares = {kind: proportion(flags[indices].tolist(), None, None).as_json() for kind, flags in found.items()}
        too_short = int((~long_enough[indices]).sum())
        tasks.setdefault(task, {})[part] = {**shares, "too_short": too_short}
    return tasks


def _of_file(folder: Path, name: str) -> Iterator[Asking]:
    file = read_definition(folder, name)
    asked: Sequence[Asked] = ()
    if isinstance(file, ChoiceTaskFile):
        for sample in choice_samples(name, folder, file):
            yield from _texts(name, sample.prompt, [sample.reference])
    elif isinstance(file, ExtractionTaskFile):
        asked = extraction_questions(folder, file)
    elif isinstance(file, GenerationTaskFile):
        asked = prompts_only(folder, file)
    elif not isinstance(file, HarnessTaskFile):
        asked = result_questions(folder, file)
    for question in asked:
        yield from _texts(name, question.prompt, question.references[:1])


def _texts(task: str, prompt: Sequence[Message], answers: Sequence[str]) -> list[Asking]:
    said = "\n".join(message["content"] for message in prompt)
    return [Asking(task, PROMPTS, said), *(Asking(task, ANSWERS, answer) for answer in answers)]


def _column(texts: list[str]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts, pa.string())])
