"""The texts of the tasks in a folder: what `curate` keeps out of the corpus and `contamination` looks for in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from forgeline.core.records import Message
from forgeline.evaluation.task_files.definition import (
    ChoiceTaskFile,
    ExtractionTaskFile,
    GenerationTaskFile,
    HarnessTaskFile,
    LocalTaskFile,
    read_definition,
)
from forgeline.evaluation.task_files.questions import (
    Asked,
    choice_samples,
    extraction_questions,
    prompts_only,
    result_questions,
)
from forgeline.text.evaluation_texts import EvaluationSet, EvaluationText

PROMPTS, ANSWERS = "prompts", "answers"


@dataclass(frozen=True)
class Asking:
    """A text of an evaluation set: part of a prompt or a right answer.

    Attributes:
        task: The task that asks it.
        sample_id: The question that it belongs to; unique within its task.
        part: `prompts` or `answers`.
        text: The text.
    """

    task: str
    sample_id: str
    part: str
    text: str


@dataclass(frozen=True)
class TaskTexts:
    """The texts of all tasks of a folder.

    Attributes:
        folder: Where they are defined.
        texts: Of those whose questions lie there.
        unchecked: Names of those whose questions do not: lm-eval brings them.
    """

    folder: Path
    texts: Sequence[Asking]
    unchecked: Sequence[str]

    def evaluation_set(self) -> EvaluationSet:
        """The texts as `curate` takes them, each with `<task>/<id>`: lines of two files may have the same id."""
        texts = [EvaluationText(entry.text, f"{entry.task}/{entry.sample_id}", entry.task) for entry in self.texts]
        return EvaluationSet("tasks", self.folder, texts, may_be_short=True)


def task_texts(folder: Path) -> TaskTexts:
    """Prompts and right answers of every task defined in a folder, whether models are scored on it or not.

    Raises:
        ParamsError: A definition is not valid.
        DataError: The questions of one are wrong.
    """
    texts: list[Asking] = []
    unchecked = []
    for name in sorted(file.stem for file in folder.glob("*.yaml")):
        file = read_definition(folder, name)
        if isinstance(file, HarnessTaskFile):
            unchecked.append(name)
        else:
            texts += _of_file(folder, name, file)
    return TaskTexts(folder, texts, unchecked)


def question_parts(task: str, sample_id: str, prompt: Sequence[Message], answers: Sequence[str]) -> list[Asking]:
    """The whole prompt of a question, and its answers."""
    said = "\n".join(message["content"] for message in prompt)
    return [
        Asking(task, sample_id, PROMPTS, said),
        *(Asking(task, sample_id, ANSWERS, answer) for answer in answers),
    ]


def _of_file(folder: Path, name: str, file: LocalTaskFile) -> Iterator[Asking]:
    asked: Sequence[Asked]
    if isinstance(file, ChoiceTaskFile):
        for sample in choice_samples(name, folder, file):
            yield from question_parts(name, sample.sample_id, sample.prompt, [sample.reference])
        return
    if isinstance(file, ExtractionTaskFile):
        asked = extraction_questions(folder, file)
    elif isinstance(file, GenerationTaskFile):
        asked = prompts_only(folder, file)
    else:
        asked = result_questions(folder, file)
    for question in asked:
        yield from question_parts(name, question.sample_id, question.prompt, question.references[:1])
