"""The reference shows every kind of sft.peft with keys that the pipeline accepts."""

import re
from pathlib import Path
from typing import get_args

from pydantic import TypeAdapter
from tests.unit.training.toys import PEFT

from forgeline.core.params import plain, read_yaml
from forgeline.training.params.peft import PeftParams


def test_every_kind_is_shown_once_and_valid(tmp_path: Path) -> None:
    reference = Path("docs/reference.md").read_text(encoding="utf-8")
    block = re.search(r"^```yaml\n(# one of these is sft\.peft\n.*?)^```", reference, re.MULTILINE | re.DOTALL)
    assert block is not None
    (tmp_path / "block.yaml").write_text(block[1], encoding="utf-8")
    entries = plain(read_yaml(tmp_path / "block.yaml"))
    kinds = [get_args(kind.model_fields["kind"].annotation)[0] for kind in get_args(get_args(PeftParams)[0])]
    assert [entry["kind"] for entry in entries] == kinds == list(PEFT)
    for entry in entries:
        assert TypeAdapter(PeftParams).validate_python(entry).model_dump() == entry
