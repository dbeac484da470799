import json
from pathlib import Path

import pytest
from tests.unit.tokenization.tokenizer_params import smollm2_file

from forgeline.planning.vocabulary import num_entries


def test_a_trained_or_extended_one_has_what_was_asked() -> None:
    assert num_entries({"kind": "byte_bpe", "vocab_size": 4096}) == 4096
    assert num_entries({"kind": "extend", "vocab_size": 60_000, "origin": "somewhere"}) == 60_000


def test_an_adopted_one_has_its_origins(tokenizer_folder: Path) -> None:
    assert num_entries({"kind": "adopt", "origin": str(tokenizer_folder)}) == 300


@pytest.mark.parametrize("vocabulary", [{"a": 0, "b": 1}, [["a", -1.0], ["b", -2.0]]])
def test_added_tokens_count_too(tmp_path: Path, vocabulary: object) -> None:
    content = {"model": {"vocab": vocabulary}, "added_tokens": [{"content": "b"}, {"content": "<pad>"}]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert num_entries({"kind": "adopt", "origin": str(tmp_path)}) == 3


def test_one_that_is_not_here_is_guessed() -> None:
    assert num_entries({"kind": "adopt", "origin": "owner/name@" + "0" * 40}) == 50_000


@pytest.mark.slow
def test_a_gguf_file_says_how_many_it_has() -> None:
    assert num_entries({"kind": "adopt", "origin": str(smollm2_file())}) == 49_152
