"""tokenizer: transformers loads it by itself, and no text is lost in it."""

import hashlib
import json

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tests.clone import Clone
from tests.pipeline.outputs import SPLITS, params, rows

pytestmark = pytest.mark.slow

SPECIAL = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]


@pytest.fixture(scope="module")
def plain_tokenizer(smoke: Clone) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(str(smoke.root / "models" / "tokenizer"))


def test_every_text_round_trips(smoke: Clone, plain_tokenizer: PreTrainedTokenizerBase) -> None:
    texts = [row["text"] for split in SPLITS for row in rows(smoke, f"data/curate/{split}.parquet")][::7]
    texts += ["naïve 東京\t  double  space\n\n", "\U0001f9ec", "<|im_end|>? no: < |im_end|>"]
    for text, ids in zip(texts, plain_tokenizer(texts, add_special_tokens=False)["input_ids"], strict=True):
        assert plain_tokenizer.decode(ids) == text


def test_special_tokens_have_their_places(smoke: Clone, plain_tokenizer: PreTrainedTokenizerBase) -> None:
    assert plain_tokenizer.convert_tokens_to_ids(SPECIAL) == [0, 1, 2, 3]
    assert (plain_tokenizer.bos_token_id, plain_tokenizer.pad_token_id, plain_tokenizer.eos_token_id) == (0, 1, 3)
    assert len(plain_tokenizer) == params(smoke)["tokenizer"]["vocab_size"] == smoke.metrics("tokenizer")["vocab_size"]
    for token in SPECIAL:
        assert plain_tokenizer.encode(f"a{token}b", add_special_tokens=False)[1] == SPECIAL.index(token)


def test_figures_are_those_of_the_training_documents(smoke: Clone, plain_tokenizer: PreTrainedTokenizerBase) -> None:
    texts = [row["text"] for row in rows(smoke, "data/curate/train.parquet")]
    num_tokens = sum(len(ids) for ids in plain_tokenizer(texts, add_special_tokens=False)["input_ids"])
    figures = smoke.metrics("tokenizer")
    assert figures["bytes_per_token"] == pytest.approx(sum(len(text.encode()) for text in texts) / num_tokens)
    assert figures["num_round_trip_failures"] == 0


def test_the_vocabulary_is_learned_from_training_documents_alone(smoke: Clone) -> None:
    """Every merged token occurs in a training document."""
    model = json.loads((smoke.root / "models" / "tokenizer" / "tokenizer.json").read_text())["model"]
    kept = bytes(range(33, 127)) + bytes(range(161, 173)) + bytes(range(174, 256))
    others = [byte for byte in range(256) if byte not in kept]
    byte_of = {chr(byte): byte for byte in kept} | {chr(256 + place): byte for place, byte in enumerate(others)}
    corpus = "\n".join(row["text"] for row in rows(smoke, "data/curate/train.parquet")).encode()
    merged = ["".join(merge) if isinstance(merge, list) else merge.replace(" ", "") for merge in model["merges"]]
    assert len(merged) > 500
    missing = [token for token in merged if bytes(byte_of[character] for character in token) not in corpus]
    assert missing == []


def test_the_fingerprint_is_the_hash_of_the_file(smoke: Clone) -> None:
    content = (smoke.root / "models" / "tokenizer" / "tokenizer.json").read_bytes()
    assert smoke.metrics("tokenizer")["fingerprint"] == hashlib.sha256(content).hexdigest()
