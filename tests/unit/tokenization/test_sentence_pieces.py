import re
import unicodedata
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import shards_of
from tests.unit.tokenization.tokenizer_params import sentencepiece_params
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from forgeline.core.errors import ParamsError
from forgeline.tokenization.params import SentencePieceParams
from forgeline.tokenization.sentence_pieces import (
    SentencePieces,
    document_lines,
    fast_tokenizer,
    train_pieces,
    train_sentencepiece,
)
from forgeline.tokenization.train import make_tokenizer

KINDS = ["sentencepiece_unigram", "sentencepiece_bpe"]
PIECES = st.sampled_from(
    [
        *[" ", "   ", "\n", "\n\n", "\t", "the", " hearing", "abnormal", "aa", "12", "é", "東", "\U0001f9ec"],
        *["<|im_end|>", "<|endoftext|>", "<unk>", "<0x41>", "▁", ".", "ﬁ"],
    ]
)
TEXTS = st.lists(PIECES | st.characters(codec="utf-8", exclude_characters="\0"), max_size=12).map("".join)


@pytest.fixture(scope="module", params=[(kind, fallback) for kind in KINDS for fallback in (True, False)], ids=str)
def both(request, medical_shards: list[Path]) -> tuple[sentencepiece.SentencePieceProcessor, Tokenizer]:
    """SentencePiece's own model and the fast tokenizer made of it."""
    kind, fallback = request.param
    params = sentencepiece_params(kind, vocab_size=1500, byte_fallback=fallback, character_coverage=0.9995)
    trained = train_pieces(document_lines(medical_shards, str), params)
    fast = fast_tokenizer(trained, params)
    fast.encode_special_tokens = True  # as the corpus is encoded: text that spells a token is text
    return sentencepiece.SentencePieceProcessor(model_proto=trained.model), fast


def test_ids_are_sentencepieces_own_on_real_text(both, medical_texts: list[str]) -> None:
    theirs, ours = both
    for text in medical_texts:
        assert ours.encode(text, add_special_tokens=False).ids == theirs.encode(text), text


@given(text=TEXTS)
def test_ids_are_sentencepieces_own_on_any_text(both, text: str) -> None:
    theirs, ours = both
    assert ours.encode(text, add_special_tokens=False).ids == theirs.encode(text)


@pytest.mark.parametrize("kind", KINDS)
def test_the_saved_folder_loads_by_itself_with_tokens_at_their_places(
    kind: str, medical_shards, tmp_path: Path
) -> None:
    params = sentencepiece_params(kind, vocab_size=800, additional_special_tokens=["<|tool|>"])
    make_tokenizer(medical_shards, params).save(tmp_path)
    loaded = AutoTokenizer.from_pretrained(str(tmp_path))
    assert len(loaded) == 800
    specials = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
    assert loaded.convert_tokens_to_ids(specials) == [0, 1, 2, 3]
    assert (loaded.bos_token_id, loaded.pad_token_id, loaded.eos_token_id) == (0, 1, 3)
    assert loaded.encode("a<|tool|>b")[1] == loaded.convert_tokens_to_ids("<|tool|>") == 5
    assert loaded.encode("<|im_start|>user\nHi<|im_end|>", add_special_tokens=False)[0] == 2
    assert {path.name for path in tmp_path.iterdir()} == {
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }


@pytest.fixture(scope="module", params=KINDS)
def folded(request, medical_shards: list[Path]):
    """A tokenizer for each normal form."""
    forms = ("none", "nfc", "nfkc")
    return {
        form: train_sentencepiece(
            medical_shards, sentencepiece_params(request.param, vocab_size=700, normalization=form)
        )
        for form in forms
    }


@given(text=TEXTS)
def test_text_comes_back_after_the_stated_normalization(folded, text: str) -> None:
    for form, tokenizer in folded.items():
        expected = text if form == "none" else unicodedata.normalize(form.upper(), text)
        ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        assert tokenizer.decode(ids) == expected.replace("▁", " ")


@pytest.mark.parametrize("kind", KINDS)
def test_digits_stand_alone_when_asked(kind: str, medical_texts: list[str], tmp_path: Path) -> None:
    shards = shards_of(tmp_path, [*medical_texts, *(f"in 2024 and 1999, {number} of 2024" for number in range(300))])
    pieces = {}
    for split in (True, False):
        params = sentencepiece_params(kind, vocab_size=800, split_digits=split)
        trained = train_pieces(document_lines(shards, str), params)
        pieces[split] = [piece for piece in trained.pieces if re.search(r"\d\d", piece) and not piece.startswith("<")]
    assert pieces[True] == []
    assert pieces[False] != []


def unknown_share(params: SentencePieceParams, shards: list[Path], text: str) -> float:
    tokenizer = train_sentencepiece(shards, params)
    ids = tokenizer.encode(text, add_special_tokens=False)
    return ids.count(tokenizer.unk_token_id) / len(ids)


def test_what_coverage_leaves_out_is_unknown_or_bytes(medical_shards: list[Path]) -> None:
    without = sentencepiece_params("sentencepiece_unigram", byte_fallback=False, character_coverage=0.98)
    assert unknown_share(without, medical_shards, " 東京") == 0.5  # a blank, then one unknown token for both
    assert unknown_share(without.model_copy(update={"byte_fallback": True}), medical_shards, "東京") == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_vocabularies_that_do_not_suit_the_text_are_refused(kind: str, tmp_path: Path) -> None:
    shards = shards_of(tmp_path, ["some text", "more text"])
    with pytest.raises(ParamsError, match=r"vocab_size 5000 is more than the text supports: set it to \d+ or"):
        train_sentencepiece(shards, sentencepiece_params(kind, vocab_size=5000))
    with pytest.raises(ParamsError, match=r"vocab_size 270 has no room for the text's characters: set it to"):
        train_sentencepiece(shards, sentencepiece_params(kind, vocab_size=270))


def test_the_number_of_pieces_that_is_offered_can_be_trained(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, ["some text", "more text"])
    with pytest.raises(ParamsError) as caught:
        train_sentencepiece(shards, sentencepiece_params("sentencepiece_unigram", vocab_size=5000))
    most = int(str(caught.value).partition("set it to ")[2].split()[0])
    assert len(train_sentencepiece(shards, sentencepiece_params("sentencepiece_unigram", vocab_size=most))) == most


def test_long_lines_are_read_to_their_end(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, ["x " * 4000 + "unforgettable " * 30])  # SentencePiece's own limit is 4,192 bytes
    params = sentencepiece_params("sentencepiece_bpe", vocab_size=330)
    found: SentencePieces = train_pieces(document_lines(shards, str), params)
    assert any("unforget" in piece for piece in found.pieces)
