"""Parameters and files of instruction sets for tests."""

import json
from pathlib import Path
from typing import Any

from forgeline.sources.instruction_params import FileSet, FilterParams, InstructionParams, TaskLimits


def filter_params(**changed: Any) -> FilterParams:
    values = {
        "empty": "error", "echo": "error", "max_characters": 2000,
        "urls": "keep", "code": "keep", "duplicate_prompts": "drop",
    }  # fmt: skip
    return FilterParams(**(values | changed))


def instruction_params(sets: dict[str, Any], max_repeats: int = 1, **filters: Any) -> InstructionParams:
    return InstructionParams(
        sets=sets,
        filters=filter_params(**filters),
        max_repeats=max_repeats,
        max_per_task=TaskLimits(organ_system=None, is_a=2000, definition=4000),
        max_test_per_task=200,
        validation_fraction=0.2,
        test_fraction=0.2,
        seed=17,
    )


def file_set(path: Path, **changed: Any) -> FileSet:
    values = {"kind": "files", "path": str(path), "pattern": None, "format": "auto", "fields": {}, "weight": None}
    return FileSet(**(values | changed))


def write_lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def answered(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
