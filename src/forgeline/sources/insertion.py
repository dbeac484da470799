"""A new entry in a YAML file, all other bytes of which stay as they are: comments, blank lines, quotes, alignment."""

import re
from pathlib import Path
from typing import Any

from forgeline.core.errors import ParamsError
from forgeline.core.params import read_yaml, write_yaml

_EMPTY = re.compile(r"\{\s*\}")
_INDENT = 2


def insert_entry(file: Path, section: str, name: str, values: dict[str, Any]) -> None:
    """Adds `name: values` as the last entry of a section.

    Args:
        file: Is rewritten.
        section: Dotted path of a mapping that is in the file, `ingest.sources` for instance.
        name: A key that the section does not have.
        values: Scalars by name.

    Raises:
        ParamsError: The section has entries in braces, on one line.
    """
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    node, key_line, key_column = _find(read_yaml(file), section)
    if node:
        if node.fa.flow_style():
            raise ParamsError(
                f"{file}:{key_line + 1}: {section} is written in braces: give each entry lines of its own"
            )
        column = int(node.lc.col)
        after = _last_line(lines, int(node.lc.key(list(node)[-1])[0]), column)
    else:
        column, after = key_column + _INDENT, key_line
        lines[key_line] = _EMPTY.sub("  ", lines[key_line], count=1).rstrip() + "\n"
    if not lines[after].endswith("\n"):
        lines[after] += "\n"
    lines[after + 1 : after + 1] = [" " * column + line for line in _entry(file, name, values)]
    file.write_text("".join(lines), encoding="utf-8")


def _find(document: Any, section: str) -> tuple[Any, int, int]:
    """The mapping, and line and column (from 0) of the key that leads to it."""
    node, line, column = document, 0, 0
    for part in section.split("."):
        line, column = node.lc.key(part)
        node = node[part]
    return node, line, column


def _last_line(lines: list[str], start: int, column: int) -> int:
    """The last line of the entry whose key stands on line `start` at `column`."""
    last = start
    for number, line in enumerate(lines[start + 1 :], start + 1):
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if text and (indent > column or (indent == column and text.startswith("- "))):
            last = number
        elif text and not text.startswith("#"):
            break
    return last


def _entry(file: Path, name: str, values: dict[str, Any]) -> list[str]:
    scratch = file.with_name(f"{file.name}.entry")
    try:
        write_yaml(scratch, {name: values})
        return scratch.read_text(encoding="utf-8").splitlines(keepends=True)
    finally:
        scratch.unlink(missing_ok=True)
