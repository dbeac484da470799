"""Imports point one way: a data room never pulls in a training room, and data rooms never pull in torch."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path("src/forgeline")
DATA_ROOMS = ("core", "runner", "sources", "text")
EARLY_ROOMS = ("sources", "text", "tokenization", "packing", "model")
LATE_ROOMS = ("training", "evaluation", "inference", "quantization", "reporting", "tracking", "planning")
FILES = sorted(SOURCE.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0]


def imports_any(path: Path, *modules: str) -> list[str]:
    prefixes = tuple(f"{module}." for module in modules)
    return [name for name in imported(path) if name in modules or name.startswith(prefixes)]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_directions(path: Path) -> None:
    assert not imports_any(path, "stages", "scripts"), "nothing imports a stage"
    if path.name not in ("cli.py", "check.py", "repro.py"):
        assert not imports_any(path, "forgeline.cli", "forgeline.check", "forgeline.repro")
    if room(path) == "core":
        others = [name for name in imports_any(path, "forgeline") if not name.startswith("forgeline.core")]
        assert [name for name in others if name != "forgeline"] == [], "core imports core alone"
    if room(path) in EARLY_ROOMS:
        assert not imports_any(path, *(f"forgeline.{late}" for late in LATE_ROOMS))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_heavy_libraries_stay_in_their_rooms(path: Path) -> None:
    if room(path) in DATA_ROOMS:
        assert not imports_any(path, "torch", "transformers", "trl", "peft", "accelerate")
    if room(path) != "tracking":
        assert not imports_any(path, "mlflow")
    if path != SOURCE / "core" / "params.py":
        assert not imports_any(path, "ruamel", "yaml")
    if path.parent.name == "params" or path.name.endswith("params.py"):
        assert not imports_any(path, "torch", "transformers", "trl", "peft"), "`forgeline check` must stay quick"


def test_init_files_are_empty() -> None:
    assert [str(path) for path in SOURCE.rglob("__init__.py") if path.read_text().strip()] == []
