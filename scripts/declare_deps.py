"""Writes every stage's code deps into dvc.yaml: the files of this repository that it imports, directly or not.

A dep too few leaves stale results, one too many retrains for nothing. tests/pipeline/test_declared_deps.py compares;
run `python -m scripts.declare_deps` after changing imports. Deps with `${...}` in them are left alone: they are where
the members of a `foreach` group differ.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from forgeline.core.params import read_yaml, write_yaml
from forgeline.core.pipeline import PipelineStage, read_pipeline

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"forgeline": ROOT / "src", "stages": ROOT}


def code_closure(stage: PipelineStage) -> set[str]:
    """Files of the repository, relative to its root, that the stage's command imports or opens as package data.

    Empty files are left out: an `__init__.py` without code cannot change a result.
    """
    words = stage.command.split()
    todo = [words[words.index("-m") + 1]]
    seen: set[Path] = set()
    while todo:
        module = todo.pop()
        parts = module.split(".")
        for length in range(1, len(parts) + 1):  # importing a.b runs a/__init__.py too
            for file in _files_of(".".join(parts[:length])):
                if file not in seen:
                    seen.add(file)
                    todo += _imports(file)
    return {file.relative_to(ROOT).as_posix() for file in seen if file.read_bytes().strip()}


def declared_code(stage: PipelineStage) -> set[str]:
    """Files of the repository's code that the stage's deps name, folders expanded."""
    files: set[Path] = set()
    for dep in stage.deps:
        if _is_code(dep):
            files |= {ROOT / file for file in _files_in(ROOT / dep)}
    return {file.relative_to(ROOT).as_posix() for file in files}


def _files_in(path: Path) -> set[str]:
    """A file, or those of a folder, relative to the repository's root."""
    files = set(_content(path)) if path.is_dir() else {path}
    return {file.relative_to(ROOT).as_posix() for file in files}


def _files_of(module: str) -> list[Path]:
    root = PACKAGES.get(module.partition(".")[0])
    if root is None:
        return []
    path = root.joinpath(*module.split("."))
    if path.is_dir() and not any(path.glob("*.py")):  # package data: templates, assets
        return sorted(_content(path))
    return [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]


@cache
def _imports(file: Path) -> tuple[str, ...]:
    return tuple(_find_imports(file)) if file.suffix == ".py" else ()


def _find_imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{file}:{node.lineno}: relative import: name the module in full")
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and "files" in (getattr(node.func, "attr", ""), getattr(node.func, "id", "")):
            # importlib.resources.files
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


def _content(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts and file.read_bytes().strip():
            yield file


def _folded(files: set[str]) -> list[str]:
    """The same files, with a folder in place of its content where all of it is there."""
    result = set(files)
    folders = {parent for file in files for parent in Path(file).parents if len(parent.parts) > 2}
    for folder in sorted(folders, key=lambda path: len(path.parts)):
        content = {file.relative_to(ROOT).as_posix() for file in _content(ROOT / folder)}
        if len(content) > 1 and content <= result:
            result = (result - content) | {folder.as_posix()}
    return sorted(result, key=lambda path: (path.startswith("src"), path))


def main() -> None:
    """Rewrites the deps in dvc.yaml."""
    document = read_yaml(ROOT / "dvc.yaml")
    members: dict[str, list[PipelineStage]] = {}
    for stage in read_pipeline(ROOT, templates=True):
        members.setdefault(stage.name, []).append(stage)
    for name, stages in members.items():
        definition: Any = document["stages"][name]
        deps = (definition["do"] if "foreach" in definition else definition)["deps"]
        templated = [dep for dep in deps if "${" in dep]
        data = [dep for dep in deps if dep not in templated and not _is_code(dep)]
        filled = [path for stage in stages for dep, path in zip(deps, stage.deps, strict=True) if dep in templated]
        own = {file for path in filled for file in _files_in(ROOT / path)}  # of a member; a group of one has them too
        common = set.intersection(*(code_closure(stage) for stage in stages)) - set(data) - own
        deps[:] = [*_folded(common), *templated, *data]
        deps.fa.set_block_style()
    write_yaml(ROOT / "dvc.yaml", document)


def _is_code(dep: str) -> bool:
    """Code is what lies in the two packages, but for the descriptors of packaged data, which are data."""
    return dep.startswith(("src/forgeline/", "stages/")) and not dep.endswith(".json")


if __name__ == "__main__":
    main()
