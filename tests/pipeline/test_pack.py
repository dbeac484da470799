"""pack: the shards are the documents' ids one after another, and nothing else."""

import hashlib

import numpy as np
import pytest
from tokenizers import Tokenizer

from tests.clone import Clone
from tests.pipeline.outputs import params, rows

pytestmark = pytest.mark.slow

END = 0  # <|endoftext|>


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_stream_is_the_encoded_documents_token_by_token(smoke: Clone, split: str) -> None:
    encoder = Tokenizer.from_file(str(smoke.root / "models" / "tokenizer" / "tokenizer.json"))
    texts = [row["text"] for row in rows(smoke, f"data/curate/{split}.parquet")]
    expected, ends = [END], [1]
    for encoded in encoder.encode_batch(texts, add_special_tokens=False):
        expected += [*encoded.ids, END]
        ends.append(len(expected))
    stream = np.fromfile(smoke.root / "data" / "pack" / f"{split}.bin", dtype="<u2")
    np.testing.assert_array_equal(stream, expected)
    np.testing.assert_array_equal(np.fromfile(smoke.root / "data" / "pack" / f"{split}.idx", dtype="<i8"), ends)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_index_entry_cuts_out_its_document(smoke: Clone, split: str) -> None:
    decoder = Tokenizer.from_file(str(smoke.root / "models" / "tokenizer" / "tokenizer.json"))
    stream = np.fromfile(smoke.root / "data" / "pack" / f"{split}.bin", dtype="<u2")
    ends = np.fromfile(smoke.root / "data" / "pack" / f"{split}.idx", dtype="<i8")
    documents = rows(smoke, f"data/curate/{split}.parquet")
    for number in (0, 1, len(documents) // 2, len(documents) - 1):
        ids = stream[ends[number] : ends[number + 1]]
        assert ids[-1] == END
        assert decoder.decode(ids[:-1].tolist(), skip_special_tokens=False) == documents[number]["text"]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_facts_describe_the_shard(smoke: Clone, split: str) -> None:
    content = (smoke.root / "data" / "pack" / f"{split}.bin").read_bytes()
    length = params(smoke)["pack"]["sequence_length"]
    facts = smoke.metrics("pack")[split]
    num_tokens = len(content) // 2
    assert facts["sha256"] == hashlib.sha256(content).hexdigest()
    assert facts["num_tokens"] == num_tokens
    assert facts["num_windows"] * length + facts["num_unused_tokens"] + 1 == num_tokens
    assert 0 <= facts["num_unused_tokens"] < length
