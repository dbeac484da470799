"""The questions of a task file: rows of JSON lines, with every mistake named by its line."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgeline.core.errors import DataError
from forgeline.core.records import EvalSample, Message
from forgeline.evaluation.task_files.definition import (
    ChoiceTaskFile,
    ExtractionTaskFile,
    GenerationTaskFile,
    LocalTaskFile,
    ResultTaskFile,
)
from forgeline.sources.files import jsonl_objects
from forgeline.sources.formats.records import Where
from forgeline.sources.template import parse

_ID_FIELD = "id"


@dataclass(frozen=True)
class Asked:
    """A question with its right answers; none where the text does not say."""

    sample_id: str
    prompt: list[Message]
    references: tuple[str, ...]


def choice_samples(task: str, folder: Path, file: ChoiceTaskFile) -> list[EvalSample]:
    """The questions of a task of choices; `DataError` as `_rows`, or a right answer is none of the choices."""
    samples = []
    for row, where, prompt, sample_id in _rows(folder, file):
        choices = file.choices if isinstance(file.choices, list) else _texts(row, file.choices, where)
        if len(set(choices)) < max(2, len(choices)):
            raise DataError(f"{where()}: needs at least two choices, all different, has {choices}: correct the line")
        reference = _right_choice(row, file, choices, where)
        samples.append(EvalSample(sample_id, task, sample_id, prompt, reference, list(choices)))
    return samples


def extraction_questions(folder: Path, file: ExtractionTaskFile) -> list[Asked]:
    """The questions of a task of extraction; `DataError` as `_rows`."""
    return [
        Asked(sample_id, prompt, tuple(_texts(row, file.answers, where)))
        for row, where, prompt, sample_id in _rows(folder, file)
    ]


def result_questions(folder: Path, file: ResultTaskFile) -> list[Asked]:
    """The questions of a task of results; `DataError` as `_rows`, or the pattern finds no result in a line."""
    asked = []
    for row, where, prompt, sample_id in _rows(folder, file):
        text = _spelled(_field(row, file.answer, where))
        if file.answer_pattern is not None:
            found = re.search(file.answer_pattern, text)
            if found is None:
                raise DataError(f"{where()}: answer_pattern finds nothing in '{file.answer}': correct one of them")
            text = found[1]
        if not text.strip():
            raise DataError(f"{where()}: field '{file.answer}' holds no result: correct the line")
        asked.append(Asked(sample_id, prompt, (text.strip(),)))
    return asked


def prompts_only(folder: Path, file: GenerationTaskFile) -> list[Asked]:
    """The prompts of a task without right answers; `DataError` as `_rows`."""
    return [Asked(sample_id, prompt, ()) for _, _, prompt, sample_id in _rows(folder, file)]


def _rows(folder: Path, file: LocalTaskFile) -> Iterator[tuple[dict[str, Any], Where, list[Message], str]]:
    """Rows, their places, prompts and identities: the field `id` if there is one, else a hash of the prompt.

    Raises:
        DataError: The file is missing or empty, a line is not an object, lacks a field, or repeats an identity.
    """
    lines: dict[str, str] = {}
    for number, (row, where) in enumerate(jsonl_objects(folder / file.data)):
        if file.max_samples is not None and number == file.max_samples:
            return
        text = _render(row, file.prompt, where)
        if not text.strip():
            raise DataError(f"{where()}: the prompt is empty: correct the line, or `prompt` of the task")
        prompt: list[Message] = [{"role": "user", "content": text}]
        sample_id = _spelled(row[_ID_FIELD]) if _ID_FIELD in row else EvalSample.make("", "", prompt, "").sample_id
        if sample_id in lines:
            raise DataError(f"{where()}: has the same id as {lines[sample_id]} ('{sample_id}'): remove one of them")
        lines[sample_id] = where()
        yield row, where, prompt, sample_id


def _right_choice(row: dict[str, Any], file: ChoiceTaskFile, choices: list[str], where: Where) -> str:
    answer = _field(row, file.answer, where)
    if isinstance(answer, int) and not isinstance(answer, bool):
        if not 0 <= answer < len(choices):
            raise DataError(f"{where()}: answer {answer} is none of {len(choices)} choices, counted from 0: correct it")
        return choices[answer]
    names = choices if file.labels is None else _texts(row, file.labels, where)
    if len(names) != len(choices):
        raise DataError(f"{where()}: {len(names)} labels for {len(choices)} choices: correct the line")
    if _spelled(answer) not in names:
        raise DataError(f"{where()}: answer '{_spelled(answer)}' is none of {', '.join(names)}: correct it")
    return choices[names.index(_spelled(answer))]


def _render(row: dict[str, Any], template: str, where: Where) -> str:
    return "".join(
        literal + ("" if name is None else "\n".join(_texts(row, name, where))) for literal, name in parse(template)
    )


def _texts(row: dict[str, Any], name: str, where: Where) -> list[str]:
    value = _field(row, name, where)
    return [_spelled(entry) for entry in value] if isinstance(value, list) else [_spelled(value)]


def _field(row: dict[str, Any], name: str, where: Where) -> Any:
    value: Any = row
    for part in [name] if name in row else name.split("."):
        if not isinstance(value, dict) or part not in value:
            raise DataError(
                f"{where()}: no field '{name}' (its fields: {', '.join(sorted(row)) or 'none'}): correct it"
            )
        value = value[part]
    if value is None or isinstance(value, dict):
        raise DataError(f"{where()}: field '{name}' holds neither text nor a number nor a list: correct the line")
    return value


def _spelled(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
