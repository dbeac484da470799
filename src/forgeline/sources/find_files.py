"""Which files a source consists of, and in which order they are read."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from forgeline.core.errors import DataError
from forgeline.sources.formats.unpacked import COMPRESSIONS

FORMATS: Mapping[str, str] = {
    ".txt": "text",
    ".md": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}


@dataclass(frozen=True)
class SourceFile:
    """One file.

    Attributes:
        path: Where it is.
        format: A value of `FORMATS`.
        is_packed: Whether its name ends in `.gz` or `.zst`.
        num_bytes: Its size as it lies there.
    """

    path: Path
    format: str
    is_packed: bool
    num_bytes: int


def find_files(path: Path, pattern: str | None) -> list[SourceFile]:
    """The file at `path`, or the files of the folder in the order of their relative paths, hidden ones left out.

    Args:
        path: A file or a folder.
        pattern: A glob inside the folder (`**` for any depth); None takes all.

    Raises:
        DataError: Nothing is there, nothing matches, the files are of several kinds or of an unknown one, or the folder
            holds a link that leads nowhere or to a folder.
    """
    if path.is_file():
        if pattern is not None:
            raise DataError(f"{path} is a file and pattern '{pattern}' chooses from a folder: set pattern to null")
        return [_source_file(path)]
    if not path.is_dir():
        raise DataError(f"{path} does not exist: correct its path in params.yaml or put the file there")
    found = list(_walk(path))
    if pattern is not None:
        matching = set(path.glob(pattern))
        found = [file for file in found if file in matching]
    if not found:
        what = f"no file that matches '{pattern}'" if pattern is not None else "no file"
        raise DataError(f"{path} holds {what}: correct path or pattern in params.yaml (hidden files do not count)")
    return _source_files(path, sorted(found, key=lambda file: file.relative_to(path).as_posix()))


def _walk(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path)
        elif entry.is_symlink():
            _check_link(path)
            yield path
        elif entry.is_file():
            yield path
        else:
            raise DataError(f"{path} is neither a file nor a folder: remove it, or choose files with `pattern`")


def _check_link(link: Path) -> None:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        raise DataError(f"{link} is a link that leads nowhere or in a circle: remove it") from None
    if not target.is_file():
        raise DataError(
            f"{link} is a link to a folder, behind which DVC would see no change: put the files themselves there, or"
            " name the folder as a source of its own"
        )


def _source_files(folder: Path, paths: list[Path]) -> list[SourceFile]:
    """The files, if one reader can read them all."""
    kinds = Counter(FORMATS.get(_ending(path), _ending(path) or "without ending") for path in paths)
    if len(kinds) > 1:
        listed = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
        raise DataError(
            f"{folder} holds files of several kinds ({listed}): choose one kind with `pattern` in params.yaml,"
            " '**/*.jsonl' for instance, or make several sources of them"
        )
    return [_source_file(path) for path in paths]


def _source_file(path: Path) -> SourceFile:
    ending = _ending(path)
    if ending not in FORMATS:
        known = ", ".join(FORMATS)
        raise DataError(
            f"{path}: unknown kind of file '{ending}': known are {known}, all but the last also packed as .gz or .zst"
        )
    return SourceFile(path, FORMATS[ending], path.suffix.lower() in COMPRESSIONS, path.stat().st_size)


def _ending(path: Path) -> str:
    """What tells the format, without the compression: `.jsonl` for `notes.JSONL.gz`. Parquet is never packed again."""
    name = path.name.lower()
    inner = name.removesuffix(path.suffix.lower()) if path.suffix.lower() in COMPRESSIONS else name
    ending = os.path.splitext(inner)[1]
    return ending if ending != ".parquet" or inner == name else f"{ending}{path.suffix.lower()}"
