"""What the report says of evaluation texts that stand in training text."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgeline.core.storage import read_json

_FILE = "contamination.json"
_ANY = "any"
_TOO_SHORT = "too_short"


@dataclass(frozen=True)
class ContaminationRow:
    """One part of an evaluation set.

    Attributes:
        task: The evaluation task.
        part: `prompts` or `answers`.
        num_texts: How many texts it has.
        too_short: How many of them could not be looked for.
        found: The share that stands in any training text, with its interval.
        places: The share in each kind of training text.
    """

    task: str
    part: str
    num_texts: int
    too_short: int
    found: Mapping[str, Any]
    places: Mapping[str, float]


@dataclass(frozen=True)
class ContaminationTable:
    """The rows, the kinds of training text in their order, and tasks whose questions could not be looked at."""

    rows: list[ContaminationRow]
    kinds: list[str]
    unchecked: list[str]


def contamination_table(metrics_folder: Path) -> ContaminationTable | None:
    """What the stage `contamination` found; None if it has not run."""
    path = metrics_folder / _FILE
    if not path.is_file():
        return None
    content = read_json(path)
    rows = [_row(task, part, shares) for task, parts in content["tasks"].items() for part, shares in parts.items()]
    return ContaminationTable(
        rows, list(dict.fromkeys(kind for row in rows for kind in row.places)), content["unchecked"]
    )


def _row(task: str, part: str, shares: Mapping[str, Any]) -> ContaminationRow:
    places = {kind: share["value"] for kind, share in shares.items() if kind not in (_ANY, _TOO_SHORT)}
    return ContaminationRow(task, part, shares[_ANY]["n"], shares[_TOO_SHORT], shares[_ANY], places)
