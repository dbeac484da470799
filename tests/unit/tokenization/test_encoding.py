import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgeline.core.errors import DataError
from forgeline.tokenization.encoding import CorpusEncoder, RoundTrip, TokenIds

PIECES = st.sampled_from(
    ["<|im_end|>", "<|endoftext|>", "Ann ", " has", "  ", "\n", "\t", " 's", "é", "東", "\U0001f9ec", "7"]
)
TEXTS = st.lists(st.lists(PIECES | st.characters(codec="utf-8"), max_size=8).map("".join), max_size=6)


def rows(encoded: TokenIds) -> list[list[int]]:
    return [part.tolist() for part in np.split(encoded.ids, encoded.starts[1:-1])] if len(encoded.starts) > 1 else []


@given(texts=TEXTS)
@settings(deadline=None, max_examples=200)
def test_both_engines_give_the_tokenizers_own_ids(tokenizer, texts: list[str]) -> None:
    plain = tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"] if texts else []
    encoder = CorpusEncoder(tokenizer)
    assert encoder.engine == "gigatoken"
    assert rows(encoder.encode(pa.chunked_array([texts], pa.string()))) == plain
    assert rows(encoder._encode_with_library(texts)) == plain


def test_chunks_and_slices_are_read_right(tokenizer) -> None:
    texts = ["Ann has", "", "a red apple", "é", "two"]
    whole = pa.chunked_array([texts[:2], texts[2:]], pa.string())
    encoder = CorpusEncoder(tokenizer)
    expected = tokenizer(texts, add_special_tokens=False)["input_ids"]
    assert rows(encoder.encode(whole)) == expected
    assert rows(encoder.encode(whole.slice(1, 3))) == expected[1:4]


def test_the_library_can_be_asked_for(monkeypatch: pytest.MonkeyPatch, tokenizer) -> None:
    monkeypatch.setenv("FORGELINE_ENCODER", "tokenizers")
    encoder = CorpusEncoder(tokenizer)
    assert encoder.engine == "tokenizers"
    expected = tokenizer(["Ann has"], add_special_tokens=False)["input_ids"]
    assert rows(encoder.encode(pa.chunked_array([["Ann has"]]))) == expected


def test_a_difference_between_the_engines_stops_the_work(monkeypatch: pytest.MonkeyPatch, tokenizer) -> None:
    encoder = CorpusEncoder(tokenizer)
    right = encoder._encode_fast

    def wrong(column: pa.StringArray) -> TokenIds:
        found = right(column)
        return TokenIds(found.ids + np.uint32(1), found.starts)

    monkeypatch.setattr(encoder, "_encode_fast", wrong)
    with pytest.raises(DataError, match=r"give other ids for the document that begins with 'Ann has': set FORGELINE_"):
        encoder.encode(pa.chunked_array([["Ann has"]]))


def test_round_trips_are_counted(byte_tokenizer) -> None:
    encoder = CorpusEncoder(byte_tokenizer)
    texts = pa.chunked_array([["ab", "é", "", "<|pad|>"]])
    encoded = encoder.encode(texts)
    assert encoder.round_trip(texts, encoded) == RoundTrip(0, 0)
    swapped = TokenIds(np.where(encoded.ids == 69, np.uint32(70), encoded.ids), encoded.starts)  # b becomes c
    assert encoder.round_trip(texts, swapped) == RoundTrip(1, 0)
