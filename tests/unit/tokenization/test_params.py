from pathlib import Path
from typing import Any

import pytest
from tests.conftest import byte_bpe_params
from tests.unit.tokenization.tokenizer_params import sentencepiece_params

from forgeline.core.errors import ParamsError
from forgeline.core.params import load, read_yaml, write_yaml
from forgeline.tokenization.params import ByteBpeParams, TokenizerParams


def loaded(tmp_path: Path, **changed: Any) -> TokenizerParams:
    """Section `tokenizer` of params.yaml with other values; None removes a key."""
    document = read_yaml(Path("presets/default.yaml"))
    for key, value in changed.items():
        document["tokenizer"][key] = value
        if value is None:
            del document["tokenizer"][key]
    write_yaml(tmp_path / "params.yaml", document)
    return load("tokenizer", TokenizerParams, tmp_path / "params.yaml")


def test_the_default_is_byte_bpe(tmp_path: Path) -> None:
    assert isinstance(loaded(tmp_path).root, ByteBpeParams)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (
            {"kind": "wordpiece"},
            "tokenizer.kind: got 'wordpiece' (text), expected one of 'byte_bpe', 'sentencepiece_unigram'",
        ),
        ({"kind": None}, "tokenizer.kind is missing"),
        ({"kind": "adopt"}, "tokenizer.origin is missing: add it (adopt needs it)"),
        ({"character_coverage": 0.9}, "tokenizer.character_coverage is not a known parameter of byte_bpe"),
        ({"normalization": "nfd"}, "tokenizer.normalization: got 'nfd' (text), expected 'none', 'nfc' or 'nfkc'"),
        ({"vocab_size": 259}, "tokenizer.vocab_size: got 259"),
        ({"additional_special_tokens": ["<|pad|>"]}, "additional_special_tokens names <|pad|> twice"),
        ({"additional_special_tokens": ["a b"]}, "tokenizer.additional_special_tokens.0: got 'a b'"),
        (
            {"vocab_size": 260, "additional_special_tokens": ["<|x|>"]},
            "vocab_size 260 is less than 256 bytes and 5 special",
        ),
    ],
)
def test_wrong_values_are_told_with_the_remedy(tmp_path: Path, changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(ParamsError) as caught:
        loaded(tmp_path, **changed)
    assert problem in str(caught.value)


def test_special_tokens_keep_their_places_when_some_are_added() -> None:
    for params in (
        byte_bpe_params(300, 1, additional_special_tokens=["<|x|>"]),
        sentencepiece_params("sentencepiece_bpe", additional_special_tokens=["<|x|>"]),
    ):
        assert params.special_tokens == ("<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>", "<|x|>")
