import hashlib
import shutil
from pathlib import Path

import pytest

from forgeline.core.errors import DataError, FingerprintError
from forgeline.tokenization.fingerprint import require_fingerprint, require_same_tokenizer, tokenizer_fingerprint
from forgeline.tokenization.loading import load_tokenizer


def test_the_fingerprint_is_that_of_the_tokenizers_own_file(tokenizer_folder: Path, tmp_path: Path) -> None:
    expected = hashlib.sha256((tokenizer_folder / "tokenizer.json").read_bytes()).hexdigest()
    copy = Path(shutil.copytree(tokenizer_folder, tmp_path / "copy"))
    (copy / "chat_template.jinja").write_text("other")
    (copy / "config.json").write_text("{}")
    assert tokenizer_fingerprint(copy) == tokenizer_fingerprint(tokenizer_folder) == expected
    assert require_same_tokenizer(copy, tokenizer_folder) == expected


def test_different_tokenizers_are_refused_and_both_named(tokenizer_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tokenizer_folder, tmp_path / "copy"))
    file = copy / "tokenizer.json"
    file.write_text(file.read_text().replace("<|pad|>", "<|bad|>"))
    with pytest.raises(FingerprintError) as caught:
        require_same_tokenizer(copy, tokenizer_folder)
    for folder in (copy, tokenizer_folder):
        digest = hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()
        assert f"{folder} has {digest[:16]}" in str(caught.value)


def test_named_fingerprints() -> None:
    require_fingerprint("a", "models/base", "a", "data/pack")
    with pytest.raises(FingerprintError, match=r"models/base has a, data/pack has b: .*`dvc repro`"):
        require_fingerprint("a", "models/base", "b", "data/pack")


@pytest.mark.parametrize("read", [tokenizer_fingerprint, load_tokenizer])
def test_a_folder_without_a_tokenizer_is_named(read, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path} holds no tokenizer.json: ")
