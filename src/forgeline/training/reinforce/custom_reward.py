"""A reward that is a Python function of the user's: found by file and name, and held to its promise."""

import importlib.util
import math
from collections.abc import Callable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from forgeline.core.errors import DataError

# Prompts, answers and references to one number for each answer.
RewardFunction = Callable[[list[str], list[str], list[str]], list[float]]


def load_reward(file: Path, function: str) -> RewardFunction:
    """The function, wrapped so that whatever is wrong with it is one error that names it.

    Args:
        file: Python source.
        function: Its name there.

    Raises:
        DataError: There is no such file or function, or the file does not run.
    """
    spec = importlib.util.spec_from_file_location(f"custom_reward_{file.stem}", file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise DataError(f"{file} is no Python file: change custom_reward.file in params.yaml")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's code may raise anything
        raise DataError(f"{_where(file, error)}: {type(error).__name__}: {error}: mend it") from error
    found = getattr(module, function, None)
    if not callable(found):
        names = sorted(name for name, value in vars(module).items() if callable(value) and not name.startswith("_"))
        known = ", ".join(names) or "none"
        raise DataError(f"{file} has no function '{function}': change custom_reward.function; there are {known}")
    return _held(found, file, function)


def _held(reward: Callable[..., Any], file: Path, function: str) -> RewardFunction:
    def call(prompts: list[str], answers: list[str], references: list[str]) -> list[float]:
        try:
            values = reward(prompts, answers, references)
        except Exception as error:  # the user's code may raise anything
            what = f"{type(error).__name__}: {error}"
            raise DataError(f"{_where(file, error)}: the reward function {function} raised {what}: mend it") from error
        return _checked(values, len(answers), f"{file}: the reward function {function}")

    return call


def _checked(values: object, count: int, who: str) -> list[float]:
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise DataError(f"{who} returned a {type(values).__name__}: it must return a list of numbers")
    if len(values) != count:
        raise DataError(f"{who} returned {len(values)} numbers for {count} answers: it must return one for each")
    for index, value in enumerate(values):
        if not isinstance(value, Real) or not math.isfinite(value):
            raise DataError(f"{who} returned {value!r} for answer {index}: it must return a finite number for each")
    return [float(value) for value in values]


def _where(file: Path, error: BaseException) -> str:
    """File and the line in it that the error went through last."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{file}:{line}" if line else str(file)
