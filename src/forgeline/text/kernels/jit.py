"""Compiles kernels once per machine and version of the code, for all checkouts and runs.

Numba's own cache lies beside each source file and looks at that file's modification time: every fresh clone would pay
for compiling again, and a change in a function that a kernel calls from another file would go unnoticed. Here the key
is the content of all files of this folder, so the cache can be shared and is never stale.
"""

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import caching, entrypoints

from forgeline.text.imports import absent

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
_FOLDER = Path(__file__).resolve().parent


def kernel(function: FunctionT) -> FunctionT:
    """Compiles a function of arrays and numbers to machine code that runs without the GIL."""
    compiled: FunctionT = numba.njit(nogil=True, cache=True)(function)
    return compiled


def cache_folder() -> Path:
    """Where compiled kernels of this version lie: `NUMBA_CACHE_DIR`, else the user's cache folder."""
    root = os.environ.get("NUMBA_CACHE_DIR") or Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "forgeline", "kernels"
    )
    return Path(root) / _content_hash()


@cache
def _content_hash() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    for file in sorted(_FOLDER.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


class _ByContent(caching._CacheLocator):  # type: ignore[misc]
    """Tells Numba where a kernel of this folder is cached; `None` sends other functions to Numba's own rules."""

    def __init__(self, function: Any, file: str) -> None:
        self._file = Path(file)
        self._folder = str(cache_folder())

    def get_cache_path(self) -> str:
        return self._folder

    def get_source_stamp(self) -> str:
        return _content_hash()  # must differ whenever the cached code may: the folder's name says it already

    def get_disambiguator(self) -> str:
        return self._file.stem

    @classmethod
    def from_function(cls, function: Any, file: str) -> "_ByContent | None":
        if Path(file).resolve().parent != _FOLDER:
            return None
        locator = cls(function, file)
        try:
            locator.ensure_cache_path()
        except OSError:  # nowhere to write: Numba's own rules find a place or compile every time
            return None
        return locator


caching.CacheImpl._locator_classes.insert(0, _ByContent)
# Numba would import the extensions of all installed packages, awkward's for instance: 0.6 s, and no kernel needs one.
entrypoints._already_initialized = True
# It would also import SciPy's linear algebra, to see whether kernels may multiply matrices: 0.2 s, and none does.
with absent("scipy.linalg"):
    import numba.np.arraymath
