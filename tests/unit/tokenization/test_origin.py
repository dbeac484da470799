"""Strings that name models made elsewhere."""

from pathlib import Path

import pytest

from forgeline.core.errors import DataError, ParamsError
from forgeline.tokenization.origin import Origin, find_origin

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_folders_and_gguf_files_are_local(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.touch()
    assert find_origin(str(tmp_path), "pretrain.init_from") == Origin(tmp_path, None)
    assert find_origin(str(file), "pretrain.init_from") == Origin(tmp_path, "model.gguf")
    assert find_origin(str(file), "pretrain.init_from").arguments == {
        "gguf_file": "model.gguf",
        "local_files_only": True,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no/such/folder", "is no folder, no .gguf file and not of the form owner/name@revision"),
        ("owner/name", "the commit's 40 characters"),
        ("owner/name@main", "names no commit"),
    ],
)
def test_what_names_nothing_fixed_is_refused(text: str, said: str) -> None:
    with pytest.raises(ParamsError, match=said):
        find_origin(text, "tokenizer.origin")


def test_other_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.touch()
    with pytest.raises(ParamsError, match="not GGUF"):
        find_origin(str(file), "pretrain.init_from")


def test_without_a_network_the_message_says_how_to_go_offline() -> None:
    with pytest.raises(DataError, match=rf"hf download owner/name --revision {COMMIT} --local-dir models/name"):
        find_origin(f"owner/name@{COMMIT}", "pretrain.init_from")
