"""Whether DVC watches the files of instruction sets: a list of deps in dvc.yaml cannot follow params.yaml by itself."""

from collections.abc import Iterable
from pathlib import PurePath

from forgeline.core.pipeline import find_stage
from forgeline.core.progress import announce_warning
from forgeline.sources.instruction_params import InstructionParams


def warn_of_undeclared(stage: str, params: InstructionParams) -> None:
    """Warns of sets whose files the stage does not name among its deps: it would not run again when they change."""
    found = find_stage(stage)
    for path in undeclared((chosen.path for chosen in params.sets.values()), () if found is None else found.deps):
        announce_warning(f"dvc.yaml does not name {path} among the deps of '{stage}': add it, or changes go unnoticed")


def undeclared(paths: Iterable[str], deps: Iterable[str]) -> list[str]:
    """The paths that are neither a dep nor inside one."""
    watched = [PurePath(dep) for dep in deps]
    return [path for path in paths if not any(PurePath(path).is_relative_to(dep) for dep in watched)]
