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
from forgeline.sources.template import parse
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

    A prompt is without what its template says before the first field and after the last.

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
    head, tail = _frame(file.prompt)
    for question in _questions(folder, name, file):
        own: list[Message] = [
            {**message, "content": message["content"].removeprefix(head).removesuffix(tail)}
            for message in question.prompt
        ]
        yield from question_parts(name, question.sample_id, own, question.references[:1])


def _frame(template: str) -> tuple[str, str]:
    """What a template says before its first field and after its last.

    Every prompt has these words and no document does: with them in the way a short question would not be found.
    """
    parts = parse(template)
    fields = [place for place, (_, name) in enumerate(parts) if name is not None]
    head = "".join(literal for literal, _ in parts[: fields[0] + 1])
    tail = "".join(literal for literal, _ in parts[fields[-1] + 1 :])
    return head, tail


def _questions(folder: Path, name: str, file: LocalTaskFile) -> Sequence[Asked]:
    if isinstance(file, ChoiceTaskFile):
        samples = choice_samples(name, folder, file)
        return [Asked(sample.sample_id, sample.prompt, (sample.reference,)) for sample in samples]
    if isinstance(file, ExtractionTaskFile):
        return extraction_questions(folder, file)
    if isinstance(file, GenerationTaskFile):
        return prompts_only(folder, file)
    return result_questions(folder, file)
