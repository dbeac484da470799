"""The reference shows every optimizer and every schedule with keys and values that the pipeline accepts."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from tests.unit.training.toys import OPTIMIZERS

from forgeline.core.params import plain, read_yaml
from forgeline.training.loop.optimizers.params import OptimizerParams
from forgeline.training.loop.schedule_params import Schedule
from forgeline.training.params.pretrain import PretrainParams

REPOSITORY = Path(__file__).parents[3]


def shown(key: str, folder: Path) -> list[dict[str, Any]]:
    reference = (REPOSITORY / "docs" / "reference.md").read_text(encoding="utf-8")
    block = re.search(rf"^```yaml\n(# one of these is pretrain\.{key}\n.*?)^```", reference, re.MULTILINE | re.DOTALL)
    assert block is not None
    file = folder / "block.yaml"
    file.write_text(block[1], encoding="utf-8")
    entries: list[dict[str, Any]] = plain(read_yaml(file))
    return entries


def names(choice: Any) -> list[str]:
    return [get_args(model.model_fields["name"].annotation)[0] for model in get_args(get_args(choice)[0])]


@pytest.mark.parametrize(("key", "choice"), [("optimizer", OptimizerParams), ("schedule", Schedule)])
def test_every_choice_is_shown_once_and_valid(key: str, choice: Any, tmp_path: Path) -> None:
    entries = shown(key, tmp_path)
    assert [entry["name"] for entry in entries] == names(choice)
    values = plain(read_yaml(REPOSITORY / "presets" / "default.yaml"))["pretrain"]
    for entry in entries:
        assert getattr(PretrainParams(**{**values, key: entry}), key).model_dump() == entry


def test_the_default_is_among_them(tmp_path: Path) -> None:
    values = plain(read_yaml(REPOSITORY / "presets" / "default.yaml"))["pretrain"]
    for key in ("optimizer", "schedule"):
        assert values[key] in shown(key, tmp_path)


def test_the_tests_know_every_optimizer() -> None:
    assert list(OPTIMIZERS) == names(OptimizerParams)
