"""Compiling kernels is paid once: another checkout of the same code, in another process, takes them from the cache."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

KERNELS = Path("src/forgeline/text/kernels")
IMPORTS = Path("src/forgeline/text/imports.py")  # which the compiling module uses
TOY = """
from forgeline.text.kernels.jit import kernel


@kernel
def add(left, right):
    return left + right + {constant}
"""
CALL = "from forgeline.text.kernels.toy import add; print(add(1, 2), sum(add.stats.cache_hits.values()))"


def call(checkout: Path, cache: Path, constant: int) -> str:
    folder = checkout / KERNELS.relative_to("src")
    for file in (KERNELS / "jit.py", IMPORTS):
        copy = checkout / file.relative_to("src")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
        (copy.parent / "__init__.py").touch()
    for package in folder.parents[:2]:
        (package / "__init__.py").touch()
    (folder / "toy.py").write_text(TOY.format(constant=constant))
    environment = {**os.environ, "PYTHONPATH": str(checkout), "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run([sys.executable, "-c", CALL], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_equal_code_is_compiled_once_and_changed_code_again(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert call(tmp_path / "first", cache, 0) == "3 0"
    assert call(tmp_path / "second", cache, 0) == "3 1"
    assert call(tmp_path / "second", cache, 10) == "13 0"
