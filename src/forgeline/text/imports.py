"""Keeps libraries from importing others that are of no use here: a stage on a small corpus is mostly imports."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa


@contextmanager
def absent(module: str) -> Iterator[None]:
    """Within it an optional module looks as if it were not installed, unless it was imported before."""
    finder = _Absent(module)
    sys.meta_path.insert(0, finder)  # None in sys.modules would do for Python's `import`, but not for Cython's
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Absent:
    """Tells Python's import that there is no such module, before other finders are asked."""

    def __init__(self, module: str) -> None:
        self._module = module

    def find_spec(self, name: str, _path: object, _target: object = None) -> None:
        if name == self._module:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


def keep_pandas_out() -> None:
    """Has Arrow not import pandas (0.2 s) at its first list, to see whether that is one of pandas' own kinds.

    For stages that read tables of ours alone. Until `to_pandas` is called, for which Arrow imports it after all, Arrow
    does not know a pandas object, and cannot give nanoseconds, which a user's table may hold, to Python.
    """
    with absent("pandas"):
        pa.array([])
