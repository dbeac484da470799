"""Tasks that a user writes down: `tasks/<name>.yaml` says where the questions are and how answers are judged."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveInt, RootModel, field_validator

from forgeline.core.errors import ParamsError
from forgeline.core.params import Section, plain, read_yaml, validate
from forgeline.evaluation.params import BUILT_IN_TASKS
from forgeline.sources.template import field_names


def _template(text: str) -> str:
    field_names(text)
    return text


Template = Annotated[str, Field(min_length=1), AfterValidator(_template)]


class _TaskFile(Section):
    """What all kinds have.

    Attributes:
        data: JSON lines beside the definition, one question on each.
        prompt: A field, or a template over fields: what the user says. A list of texts is joined by line feeds.
        max_samples: The first so many; null takes all.
    """

    data: str
    prompt: Template
    max_samples: PositiveInt | None


class ChoiceTaskFile(_TaskFile):
    """The likeliest of several answers, as in BoolQ, PubMedQA or ARC.

    Attributes:
        choices: The answers of every question, or the field that lists those of each.
        labels: The field that lists the labels of the choices (`[A, B, C, D]`), if `answer` is one of these; or null.
        answer: The field with the right answer: one of the choices, its label, or its number, counted from 0.
        compare: Log-likelihoods as a whole (`total`) or for each UTF-8 byte of the answer (`per_byte`), which gives
            long answers a chance.
    """

    kind: Literal["choice"]
    choices: Annotated[list[str], Field(min_length=2)] | str
    labels: str | None
    answer: str
    compare: Literal["total", "per_byte"]


class ExtractionTaskFile(_TaskFile):
    """An answer in a few words, judged by exact match and F1 as SQuAD does.

    Attributes:
        answers: The field with the right answer or a list of them; an empty list if the text does not say.
        no_answer: What the model should write if the text does not say.
        max_new_tokens: Most tokens of an answer.
    """

    kind: Literal["extraction"]
    answers: str
    no_answer: str
    max_new_tokens: PositiveInt


class ResultTaskFile(_TaskFile):
    r"""A result in a `\boxed{}`, as in GSM8K or MATH; without a box the answer is wrong.

    Attributes:
        answer: The field with the right result.
        answer_pattern: A regular expression whose only group finds the result in that field (`#### (.+)`); or null.
        tolerance: Largest difference as a share of the right number; 0 wants them equal.
        max_new_tokens: Most tokens of an answer.
    """

    kind: Literal["result"]
    answer: str
    answer_pattern: str | None
    tolerance: Annotated[float, Field(ge=0, lt=1)]
    max_new_tokens: PositiveInt

    @field_validator("answer_pattern")
    @classmethod
    def _has_one_group(cls, pattern: str | None) -> str | None:
        try:
            groups = 1 if pattern is None else re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"answer_pattern is no regular expression ({error}): correct it") from None
        if groups != 1:
            raise ValueError("answer_pattern needs one group, in round brackets, that holds the result")
        return pattern


class GenerationTaskFile(_TaskFile):
    """Fixed prompts and what the model writes after them, to be read; nothing is right or wrong.

    Attributes:
        max_repeated_share: An answer is flagged as repetitive where a larger share of its runs of four tokens repeats
            one before.
        max_new_tokens: Most tokens of an answer.
    """

    kind: Literal["generation"]
    max_repeated_share: Annotated[float, Field(ge=0, lt=1)]
    max_new_tokens: PositiveInt


class HarnessTaskFile(Section):
    """A task of lm-eval's harness.

    Attributes:
        task: Its name there: of a task or a group.
        definitions: Folder beside this file with YAML files of lm-eval's own format; null takes those that it brings.
        num_fewshot: Solved examples before each question; null leaves it to the task.
        max_samples: The first so many of each task; null takes all.
    """

    kind: Literal["harness"]
    task: Annotated[str, Field(min_length=1)]
    definitions: str | None
    num_fewshot: Annotated[int, Field(ge=0)] | None
    max_samples: PositiveInt | None


LocalTaskFile = ChoiceTaskFile | ExtractionTaskFile | ResultTaskFile | GenerationTaskFile


class TaskFile(RootModel[Annotated[LocalTaskFile | HarnessTaskFile, Field(discriminator="kind")]]):
    """A definition: a choice by `kind`."""


def read_definition(folder: Path, name: str) -> LocalTaskFile | HarnessTaskFile:
    """The definition of a task.

    Args:
        folder: Where definitions lie.
        name: Of the task.

    Raises:
        ParamsError: There is no such file (lists those that there are), or it says something that is not allowed.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        there = ", ".join([*BUILT_IN_TASKS, *sorted(file.stem for file in folder.glob("*.yaml"))])
        raise ParamsError(f"unknown task '{name}': write {path} (there are {there}), or take it out")
    nodes = read_yaml(path)
    return validate(plain(nodes), TaskFile, "", path, nodes).root


def unreadable_definitions(folder: Path, names: Iterable[str]) -> list[str]:
    """What is wrong with the definitions of tasks, in a line each."""
    problems: list[str] = []
    for name in names:
        try:
            definition = read_definition(folder, name)
        except ParamsError as error:
            problems += str(error).splitlines()
            continue
        if isinstance(definition, HarnessTaskFile):
            wanted, knob = folder / (definition.definitions or "."), "definitions"
        else:
            wanted, knob = folder / definition.data, "data"
        if not wanted.exists():
            problems.append(f"{folder / name}.yaml: {wanted} does not exist: put it there or correct `{knob}`")
    return problems
