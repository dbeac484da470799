"""The reference and the page on tokenizers show every kind with keys and values that the pipeline accepts."""

import re
from pathlib import Path
from typing import Any, get_args

from forgeline.core.params import plain, read_yaml
from forgeline.tokenization.params import AnyTokenizerParams, TokenizerParams


def yaml_block(page: str, first_line: str, folder: Path) -> list[Any]:
    text = Path("docs", page).read_text(encoding="utf-8")
    blocks = re.findall(rf"^```yaml\n({re.escape(first_line)}\n.*?)^```", text, re.MULTILINE | re.DOTALL)
    found = []
    for number, block in enumerate(blocks):
        file = folder / f"{number}.yaml"
        file.write_text(block, encoding="utf-8")
        found.append(plain(read_yaml(file)))
    return found


def test_every_kind_is_shown_once_and_valid(tmp_path: Path) -> None:
    [entries] = yaml_block("reference.md", "# one of these is tokenizer", tmp_path)
    kinds = [get_args(model.model_fields["kind"].annotation)[0] for model in get_args(AnyTokenizerParams)]
    assert [entry["kind"] for entry in entries] == kinds
    for entry in entries:
        assert TokenizerParams.model_validate(entry).root.model_dump() == entry
    assert plain(read_yaml(Path("presets/default.yaml")))["tokenizer"] in entries


def test_every_key_is_explained(tmp_path: Path) -> None:
    [entries] = yaml_block("reference.md", "# one of these is tokenizer", tmp_path)
    section = (
        Path("docs/reference.md").read_text(encoding="utf-8").partition("## Tokenizers")[2].partition("```yaml")[0]
    )
    for key in {key for entry in entries for key in entry} - {"kind"}:
        assert re.search(rf"^\|.*`{key}`.*\|", section, re.MULTILINE), key


def test_examples_of_the_page_are_valid(tmp_path: Path) -> None:
    examples = yaml_block("tokenizers.md", "# in place of section tokenizer of params.yaml", tmp_path)
    assert [TokenizerParams.model_validate(example["tokenizer"]).root.kind for example in examples] == [
        "adopt",
        "extend",
    ]
