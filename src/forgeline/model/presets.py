"""Architectures by size, each a file with a `model` section, and putting one into params.yaml."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from forgeline.core.errors import ParamsError
from forgeline.core.params import PARAMS_FILE, Section, plain, read_yaml, validate
from forgeline.model.params import Architecture, ModelParams

PRESETS = Path("presets/models")
_SECTION = "model"


class PresetParams(Section):
    """A file of `presets/models`.

    Attributes:
        vocab_size: Entries of the vocabulary with which the model has the size that its name says.
        model: Goes into params.yaml as it stands, comments included.
    """

    vocab_size: int = Field(ge=1)
    model: ModelParams


@dataclass(frozen=True)
class Preset:
    """An architecture with a size for its name.

    Attributes:
        name: `124m` for instance.
        vocab_size: Entries of the vocabulary that the size is for.
        params: The architecture.
        lines: Section `model` as it stands in the file.
    """

    name: str
    vocab_size: int
    params: Architecture
    lines: list[str]


def preset_names() -> list[str]:
    """All presets, the smallest file name first."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def read_preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ParamsError: There is none, or its file is not valid.
    """
    path = PRESETS / f"{name}.yaml"
    if not path.is_file():
        raise ParamsError(f"there is no model '{name}': choose one of {', '.join(preset_names())}")
    document = read_yaml(path)
    values = validate(plain(document), PresetParams, name, path, {name: document})
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    first, end = _section_lines(path, lines)
    return Preset(name, values.vocab_size, values.model.root, lines[first:end])


def use_preset(preset: Preset, check: Callable[[Path], object]) -> None:
    """Puts the preset in the place of params.yaml's section `model`; every other byte stays as it is.

    Args:
        preset: What to put there.
        check: Validates a parameter file.

    Raises:
        ParamsError: params.yaml would not be valid with it, because of a sequence that is too long for the model say;
            it is as it was.
    """
    candidate = PARAMS_FILE.with_name(f".{PARAMS_FILE.name}.partial")
    shutil.copyfile(PARAMS_FILE, candidate)
    try:
        lines = candidate.read_text(encoding="utf-8").splitlines(keepends=True)
        first, end = _section_lines(candidate, lines)
        candidate.write_text("".join([*lines[:first], *preset.lines, *lines[end:]]), encoding="utf-8")
        check(candidate)
        candidate.replace(PARAMS_FILE)
    except ParamsError as error:
        raise ParamsError(str(error).replace(str(candidate), str(PARAMS_FILE))) from None
    finally:
        candidate.unlink(missing_ok=True)


def _section_lines(path: Path, lines: list[str]) -> tuple[int, int]:
    """Where section `model` begins and ends: with its last line that is indented, so not with what heads the next."""
    document = read_yaml(path)
    if _SECTION not in document:
        raise ParamsError(f"{path}: section '{_SECTION}' is missing: restore it from presets/default.yaml")
    first = int(document.lc.key(_SECTION)[0])
    later = [int(document.lc.key(name)[0]) for name in document if int(document.lc.key(name)[0]) > first]
    limit = min(later, default=len(lines))
    end = max(number for number in range(first, limit) if number == first or lines[number].startswith(" ")) + 1
    return first, end
