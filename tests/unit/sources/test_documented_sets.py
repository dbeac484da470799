"""The reference shows every kind of instruction set with keys and values that the pipeline accepts."""

import re
from pathlib import Path

from pydantic import TypeAdapter

from forgeline.core.params import plain, read_yaml
from forgeline.sources.conversations.formats import FORMATS
from forgeline.sources.instruction_params import FileSet, HpoQuestionSet, InstructionParams, InstructionSet

REFERENCE = Path("docs/reference.md").read_text(encoding="utf-8")
PAGE = Path("docs/instruction-data.md").read_text(encoding="utf-8")


def test_every_kind_is_shown_and_valid(tmp_path: Path) -> None:
    [block] = re.findall(
        r"^# one of these is instructions\.sets\.<name>\n(.*?)^```", REFERENCE, re.MULTILINE | re.DOTALL
    )
    (tmp_path / "sets.yaml").write_text(block)
    entries = plain(read_yaml(tmp_path / "sets.yaml"))
    found = [TypeAdapter(InstructionSet).validate_python(entry) for entry in entries]
    assert [type(entry) for entry in found] == [HpoQuestionSet, FileSet]
    assert [entry.model_dump() for entry in found] == entries


def test_every_key_is_explained() -> None:
    table = REFERENCE.partition("## Instruction data")[2].partition("```yaml")[0]
    names = [f"sets.<name>.{key}" for key in FileSet.model_fields]
    names += [f"filters.{key}" for key in InstructionParams.model_fields["filters"].annotation.model_fields]
    names += [key for key in InstructionParams.model_fields if key not in ("sets", "filters")]
    assert [name for name in names if f"`{name}`" not in table] == []


def test_every_format_is_listed_with_its_fields() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*)$", PAGE.partition("**Detection.**")[0], re.MULTILINE))
    assert list(rows) == list(FORMATS)
    for name, known in FORMATS.items():
        fields = {*known.required, *known.optional, *known.inner} - {"format"}
        assert {field for field in fields if f"`{field}`" not in rows[name]} == set(), name
