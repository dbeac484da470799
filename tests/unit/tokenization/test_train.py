from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.records import documents_table
from forgeline.tokenization.loading import load_tokenizer
from forgeline.tokenization.params import TokenizerParams
from forgeline.tokenization.train import read_template, report, save_tokenizer, train_tokenizer


def params(vocab_size: int = 260, min_frequency: int = 1, chat_template: str = "forgeline") -> TokenizerParams:
    return TokenizerParams(vocab_size=vocab_size, min_frequency=min_frequency, chat_template=chat_template)


def test_the_special_tokens_have_the_first_ids_and_bytes_follow_by_code_point(byte_tokenizer) -> None:
    specials = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
    assert byte_tokenizer.convert_tokens_to_ids(specials) == [0, 1, 2, 3]
    assert byte_tokenizer.encode("!a <|im_end|>\né", add_special_tokens=False) == [4, 68, 224, 3, 202, 131, 106]
    assert (byte_tokenizer.bos_token_id, byte_tokenizer.pad_token_id, byte_tokenizer.eos_token_id) == (0, 1, 3)
    assert len(byte_tokenizer) == 260


def test_merges_are_the_most_frequent_pairs() -> None:
    trained = train_tokenizer(documents_table(["abab abab", "abc"], "toy"), params(262))
    # (a, b) occurs five times; then (ab, ab) twice, a tie broken towards the pair of lower ids over (Ġ, abab).
    assert trained.convert_ids_to_tokens([260, 261]) == ["ab", "abab"]
    assert trained.encode("ababc", add_special_tokens=False) == [261, 70]


@given(st.text(max_size=60))
@settings(deadline=None)
def test_every_text_comes_back(tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


@given(st.lists(st.sampled_from(["<|im_end|>", "<|endoftext|>", "Ann ", "  ", "\n", " .", " 's", "é"]), max_size=8))
@settings(deadline=None)
def test_special_tokens_and_odd_spaces_come_back(tokenizer, pieces: list[str]) -> None:
    text = "".join(pieces)
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_a_vocabulary_the_text_does_not_support_is_refused_with_both_numbers() -> None:
    with pytest.raises(ParamsError) as caught:
        train_tokenizer(documents_table(["abab"], "toy"), params(400))
    assert str(caught.value) == (  # 260, ab, abab
        "params.yaml: tokenizer.vocab_size 400 is more than the text supports: only 262 entries occur at least "
        "tokenizer.min_frequency 1 times; set vocab_size to 262 or less, or add text"
    )
    assert len(train_tokenizer(documents_table(["abab"], "toy"), params(262))) == 262


def test_no_text_is_refused() -> None:
    with pytest.raises(DataError, match="no training documents"):
        train_tokenizer(documents_table([], "toy"), params())


def test_training_twice_gives_the_same_bytes(texts: list[str], tokenizer_folder: Path, tmp_path: Path) -> None:
    save_tokenizer(train_tokenizer(documents_table(texts, "toy"), params(300, 2)), tmp_path)

    def content(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    assert content(tmp_path) == content(tokenizer_folder)
    assert set(content(tmp_path)) == {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}


def test_a_saved_tokenizer_is_the_same_after_loading_and_saving_again(
    tokenizer, tokenizer_folder: Path, tmp_path: Path
) -> None:
    loaded = load_tokenizer(tokenizer_folder)
    text = "Ann has a red apple.  <|im_end|>\nünï "
    assert loaded.encode(text, add_special_tokens=False) == tokenizer.encode(text, add_special_tokens=False)
    assert loaded.get_chat_template() == read_template("forgeline")
    assert (loaded.bos_token_id, loaded.pad_token_id, loaded.eos_token_id) == (0, 1, 3)
    loaded.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / name).read_bytes() == (tokenizer_folder / name).read_bytes()


def test_an_unknown_template_lists_the_known() -> None:
    with pytest.raises(ParamsError) as caught:
        read_template("chatml")
    assert str(caught.value) == "params.yaml: tokenizer.chat_template 'chatml' is not one of forgeline"


def test_the_report_by_hand(byte_tokenizer) -> None:
    result = report(byte_tokenizer, documents_table(["ab cd", "é"], "toy"))
    # 7 bytes are 7 tokens in 3 words
    assert (result.vocab_size, result.bytes_per_token, result.num_round_trip_failures) == (260, 1.0, 0)
    assert result.tokens_per_word == pytest.approx(7 / 3)
