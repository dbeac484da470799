"""The tasks of a user's definitions, with their questions."""

from collections.abc import Iterable
from pathlib import Path

from forgeline.core.errors import DataError
from forgeline.evaluation.task_files.choice import ChoiceFromFile
from forgeline.evaluation.task_files.definition import (
    ChoiceTaskFile,
    ExtractionTaskFile,
    GenerationTaskFile,
    HarnessTaskFile,
    read_definition,
)
from forgeline.evaluation.task_files.extraction import ExtractionFromFile
from forgeline.evaluation.task_files.generation import GenerationFromFile
from forgeline.evaluation.task_files.harness import HarnessFromFile, load_harness
from forgeline.evaluation.task_files.questions import (
    choice_samples,
    extraction_questions,
    prompts_only,
    result_questions,
)
from forgeline.evaluation.task_files.result import ResultFromFile

TaskFromFile = ChoiceFromFile | ExtractionFromFile | ResultFromFile | GenerationFromFile | HarnessFromFile


def load_tasks(folder: Path, names: Iterable[str]) -> dict[str, TaskFromFile]:
    """Tasks by name.

    Args:
        folder: Where `<name>.yaml` and the data lie.
        names: Of the tasks.

    Raises:
        ParamsError: A definition is missing or not valid.
        DataError: Data are missing or wrong (names the line), or have no question.
    """
    return {name: _load(folder, name) for name in names}


def _load(folder: Path, name: str) -> TaskFromFile:
    file = read_definition(folder, name)
    task: TaskFromFile
    if isinstance(file, HarnessTaskFile):
        return load_harness(name, folder, file)
    if isinstance(file, ChoiceTaskFile):
        task = ChoiceFromFile(name, choice_samples(name, folder, file), file.compare == "per_byte")
    elif isinstance(file, ExtractionTaskFile):
        task = ExtractionFromFile(name, extraction_questions(folder, file), file.no_answer, file.max_new_tokens)
    elif isinstance(file, GenerationTaskFile):
        task = GenerationFromFile(name, prompts_only(folder, file), file.max_repeated_share, file.max_new_tokens)
    else:
        task = ResultFromFile(name, result_questions(folder, file), file.tolerance, file.max_new_tokens)
    if not len(task):
        raise DataError(f"{folder / file.data} holds no question: put some in, or take task '{name}' out")
    return task
