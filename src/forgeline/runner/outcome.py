"""What came of a task in another process, in a form that survives the way back."""

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """A result, or an error that travels as a value: raised, Ray and Python's pools would wrap it in errors of theirs.

    Attributes:
        result: What the task returned.
        error: What it raised instead; its note tells where.
    """

    result: Any = None
    error: Exception | None = None

    def unwrap(self) -> Any:
        """The result; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        return self.result


def outcome_of(function: Callable[[Any], Any], task: Any, worker: str) -> Outcome:
    """Calls `function` with `task`; `worker` says in the note of an error what kind of process it was."""
    try:
        return Outcome(result=function(task))
    except Exception as error:
        return Outcome(error=_portable(error, worker))


def _portable(error: Exception, worker: str) -> Exception:
    """The error with its traceback as a note, or one that quotes it if it cannot be pickled."""
    where = f"in a {worker}:\n{''.join(traceback.format_exception(error))}"
    error.add_note(where)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever the error's class does when it is copied
        return RuntimeError(where)
    return error
