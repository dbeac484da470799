import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import byte_bpe_params, shards_of
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from forgeline.core.errors import DataError, ParamsError
from forgeline.sources.hpo import load_ontology
from forgeline.tokenization.assembly import read_template, save_tokenizer
from forgeline.tokenization.byte_bpe import train_byte_bpe
from forgeline.tokenization.encoding import CorpusEncoder
from forgeline.tokenization.loading import load_tokenizer
from forgeline.tokenization.params import SPECIAL_TOKENS
from forgeline.tokenization.train import make_tokenizer

params = byte_bpe_params


def test_the_special_tokens_have_the_first_ids_and_bytes_follow_by_code_point(byte_tokenizer) -> None:
    specials = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
    assert byte_tokenizer.convert_tokens_to_ids(specials) == [0, 1, 2, 3]
    assert byte_tokenizer.encode("!a <|im_end|>\né", add_special_tokens=False) == [4, 68, 224, 3, 202, 131, 106]
    assert (byte_tokenizer.bos_token_id, byte_tokenizer.pad_token_id, byte_tokenizer.eos_token_id) == (0, 1, 3)
    assert len(byte_tokenizer) == 260


def test_merges_are_the_most_frequent_pairs(tmp_path: Path) -> None:
    trained = train_byte_bpe(shards_of(tmp_path, ["abab abab", "abc"]), params(262, 1))
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


def test_a_vocabulary_the_text_does_not_support_is_refused_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(ParamsError) as caught:
        train_byte_bpe(shards_of(tmp_path, ["abab"]), params(400, 1))
    assert str(caught.value) == (  # 260, ab, abab
        "params.yaml: tokenizer.vocab_size 400 is more than the text supports: only 262 entries occur at least "
        "tokenizer.min_frequency 1 times; set vocab_size to 262 or less, or add text"
    )
    assert len(train_byte_bpe(shards_of(tmp_path, ["abab"]), params(262, 1))) == 262


def test_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training documents"):
        make_tokenizer(shards_of(tmp_path, []), params(260, 1))


def test_training_twice_gives_the_same_bytes(texts: list[str], tokenizer_folder: Path, tmp_path: Path) -> None:
    save_tokenizer(train_byte_bpe(shards_of(tmp_path / "texts", texts), params(300, 2)), tmp_path / "tokenizer")

    def content(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    assert content(tmp_path / "tokenizer") == content(tokenizer_folder)
    assert set(content(tokenizer_folder)) == {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}


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
        read_template("nope")
    assert str(caught.value).startswith("params.yaml: tokenizer.chat_template 'nope' is not one of alpaca, baichuan2, ")


@pytest.mark.parametrize(("min_frequency", "supported"), [(1, 264), (2, 262), (3, 261)])
def test_merges_must_be_frequent_enough(tmp_path: Path, min_frequency: int, supported: int) -> None:
    shards = shards_of(tmp_path, ["abab abab", "abc"])  # ab five times, abab twice, Ġabab, abc once
    with pytest.raises(ParamsError, match=f"only {supported} entries occur at least .*min_frequency {min_frequency}"):
        train_byte_bpe(shards, params(300, min_frequency))
    assert len(train_byte_bpe(shards, params(supported, min_frequency))) == supported


def library_merges(texts: list[str], vocab_size: int) -> list[list[str]]:
    """What the reference implementation learns."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer=trainer)
    merges: list[list[str]] = json.loads(core.to_str())["model"]["merges"]
    return merges


def test_merges_and_ids_are_those_of_the_library_on_real_text(tmp_path: Path) -> None:
    ontology = load_ontology(Path("src/forgeline/sources/hpo.json"))
    real = [f"{term.name}\n\n{term.definition}" for term in ontology.terms.values() if term.definition][:4000]
    real += ["def f(x):\n\treturn x  # ünï\r\n", "東京タワー 東京タワー", "\u2028\u00a0 \U0001f9ec" * 3]
    ours = train_byte_bpe(shards_of(tmp_path, real), params(3000, 2)).backend_tokenizer
    model = json.loads(ours.to_str())["model"]
    assert model["merges"] == library_merges(real, 3000)
    assert [ours.id_to_token(number) for number in range(4)] == list(SPECIAL_TOKENS)
    made = [ours.id_to_token(number) for number in range(260, 3000)]
    assert made == ["".join(pair) for pair in model["merges"]]


@pytest.mark.parametrize("split_digits", [False, True])
def test_additional_special_tokens_come_after_the_four(tmp_path: Path, split_digits: bool) -> None:
    shards = shards_of(tmp_path, ["abab abab", "abc"])
    trained = train_byte_bpe(
        shards, params(264, 1, split_digits=split_digits, additional_special_tokens=["<|tool|>", "<|code|>"])
    )
    assert trained.convert_tokens_to_ids([*SPECIAL_TOKENS, "<|tool|>", "<|code|>"]) == [0, 1, 2, 3, 4, 5]
    assert trained.convert_ids_to_tokens([6, 262, 263]) == ["!", "ab", "abab"]
    assert trained.encode("a<|tool|>b", add_special_tokens=False) == [70, 4, 71]
    assert trained.decode([70, 4, 71], skip_special_tokens=True) == "ab"


def test_digits_stand_alone_when_asked(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, ["hearing 2024 2024 2024"] * 3)
    together, apart = (train_byte_bpe(shards, params(264, 2, split_digits=split)) for split in (False, True))
    assert together.tokenize(" 2024") == ["Ġ2024"]
    assert apart.tokenize(" 2024") == ["Ġ", "2", "0", "2", "4"]
    assert apart.decode(apart.encode(" 2024  7")) == " 2024  7"
    assert (CorpusEncoder(together).engine, CorpusEncoder(apart).engine) == ("gigatoken", "tokenizers")


def test_the_librarys_training_gives_the_merges_of_the_fast_one(medical_texts: list[str], tmp_path: Path) -> None:
    """Where normalization has nothing to do, both ways of training must agree."""
    plain = [unicodedata.normalize("NFC", text) for text in medical_texts]
    shards = shards_of(tmp_path, plain)
    fast, library = (train_byte_bpe(shards, params(1500, 2, normalization=form)) for form in ("none", "nfc"))
    first, second = (json.loads(made.backend_tokenizer.to_str())["model"] for made in (fast, library))
    assert first == second


@given(text=st.text(st.sampled_from("aeé\u0301ﬁ½Å\u212b 東") | st.characters(codec="utf-8"), max_size=20))
def test_text_comes_back_in_the_normal_form_asked_for(folded, text: str) -> None:
    for form, tokenizer in folded.items():
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids) == unicodedata.normalize(form.upper(), text)
        assert CorpusEncoder(tokenizer).normalize(text) == unicodedata.normalize(form.upper(), text)


@pytest.fixture(scope="module")
def folded(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, PreTrainedTokenizerFast]:
    shards = shards_of(tmp_path_factory.mktemp("texts"), texts)
    return {form: train_byte_bpe(shards, params(300, 2, normalization=form)) for form in ("nfc", "nfkc")}


def test_too_large_a_vocabulary_is_refused_by_the_librarys_training_too(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"only 262 entries occur at least .*set vocab_size to 262 or less"):
        train_byte_bpe(shards_of(tmp_path, ["abab"]), params(400, 1, split_digits=True))
