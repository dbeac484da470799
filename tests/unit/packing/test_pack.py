from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import shards_of

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.storage import sha256_path, write_json
from forgeline.packing.dataset import MANIFEST, TokenDataset
from forgeline.packing.pack import ShardFacts, SourceFacts, pack
from forgeline.packing.params import PackParams
from forgeline.tokenization.encoding import CorpusEncoder, TokenIds


class WideEncoder(CorpusEncoder):
    """As many entries as told; encodes every text as its last one."""

    def __init__(self, size: int) -> None:
        self.vocab_size = size
        self.end_of_document = 0

    def encode(self, texts: pa.ChunkedArray) -> TokenIds:
        ids = np.full(len(texts), self.vocab_size - 1, dtype=np.uint32)
        return TokenIds(ids, np.arange(len(texts) + 1, dtype=np.int64))


def write(texts: list[str], tokenizer, folder: Path, sequence_length: int = 2, dtype: str = "uint16") -> ShardFacts:
    """Packs one shard with a tokenizer, or with an encoder."""
    params = PackParams(sequence_length=sequence_length, dtype=dtype)
    encoder = tokenizer if isinstance(tokenizer, WideEncoder) else CorpusEncoder(tokenizer)
    facts = pack(shards_of(folder / "documents", texts), encoder, params, folder, "train")
    described = {**params.model_dump(), "tokenizer": "toy", "weights": {"toy": 1.0}, "train": facts.as_json()}
    write_json(folder / MANIFEST, described)
    return facts


@pytest.mark.parametrize(("dtype", "width"), [("uint16", 2), ("uint32", 4)])
def test_two_documents_by_hand(byte_tokenizer, tmp_path: Path, dtype: str, width: int) -> None:
    facts = write(["ab", "c"], byte_tokenizer, tmp_path, dtype=dtype)
    stream = [0, 68, 69, 0, 70, 0]  # a boundary first and after each
    assert (tmp_path / "train.bin").read_bytes() == b"".join(i.to_bytes(width, "little") for i in stream)
    assert np.fromfile(tmp_path / "train.idx", dtype=np.int64).tolist() == [1, 4, 6]
    assert facts == ShardFacts(
        num_documents=2,
        num_tokens=6,
        num_windows=2,
        num_unused_tokens=1,
        num_bytes=3,
        sha256=sha256_path(tmp_path / "train.bin"),
        sources={"toy": SourceFacts(first_token=1, num_tokens=5, num_documents=2, num_bytes=3)},
    )
    data = TokenDataset(tmp_path, "train")
    assert data.tokens().tolist() == stream
    assert [data.window(i).tolist() for i in range(len(data))] == [[0, 68, 69], [69, 0, 70]]
    assert data.windows(np.array([1, 0, 1])).tolist() == [[69, 0, 70], [0, 68, 69], [69, 0, 70]]
    assert data.bytes_per_token == 0.5


def test_a_boundary_spelled_in_the_text_is_text(byte_tokenizer, tmp_path: Path) -> None:
    write(["a<|endoftext|>b", "", "c"], byte_tokenizer, tmp_path)
    spelled = [31, 95, 72, 81, 71, 82, 73, 87, 72, 91, 87, 95, 33]  # "<|endoftext|>" byte by byte, none of them 0
    assert TokenDataset(tmp_path, "train").tokens().tolist() == [0, 68, *spelled, 69, 0, 0, 70, 0]
    assert np.fromfile(tmp_path / "train.idx", dtype=np.int64).tolist() == [1, 17, 18, 20]


@given(texts=st.lists(st.text("abc é", max_size=9), min_size=1, max_size=8), sequence_length=st.integers(2, 9))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_token_but_the_first_is_predicted_once_until_the_unused_tail(
    byte_tokenizer, tmp_path: Path, texts: list[str], sequence_length: int
) -> None:
    stream = [0]
    for text in texts:
        stream += [*byte_tokenizer.encode(text, add_special_tokens=False), 0]
    if len(stream) <= sequence_length:
        with pytest.raises(DataError, match="less than one window"):
            write(texts, byte_tokenizer, tmp_path, sequence_length)
        return
    facts = write(texts, byte_tokenizer, tmp_path, sequence_length)
    data = TokenDataset(tmp_path, "train")
    windows = [data.window(i).tolist() for i in range(len(data))]
    assert all(len(window) == sequence_length + 1 for window in windows)
    assert [label for window in windows for label in window[1:]] == stream[1 : len(stream) - facts.num_unused_tokens]
    assert [first[-1] for first in windows[:-1]] == [second[0] for second in windows[1:]]
    assert facts.num_unused_tokens < sequence_length
    assert facts.num_tokens == len(stream)


def test_documents_of_many_shards_make_one_stream(byte_tokenizer, tmp_path: Path) -> None:
    texts = [str(number) for number in range(1001)]
    shards = [shard for start in (0, 7, 500) for shard in shards_of(tmp_path / str(start), texts[start:][:493])]
    texts = texts[:493] + texts[7:500] + texts[500:993]
    facts = pack(
        shards, CorpusEncoder(byte_tokenizer), PackParams(sequence_length=100, dtype="uint16"), tmp_path, "train"
    )
    stream = np.fromfile(tmp_path / "train.bin", dtype=np.uint16)
    assert byte_tokenizer.decode(stream) == "<|endoftext|>" + "".join(f"{text}<|endoftext|>" for text in texts)
    assert facts.num_documents == len(texts)
    ends = np.fromfile(tmp_path / "train.idx", dtype=np.int64)
    assert np.diff(ends).tolist() == [len(text) + 1 for text in texts]


@pytest.mark.parametrize(("sequence_length", "num_windows"), [(2, 2), (4, 1)])
def test_windows_end_with_the_last_whole_one(
    byte_tokenizer, tmp_path: Path, sequence_length: int, num_windows: int
) -> None:
    assert write(["abc"], byte_tokenizer, tmp_path, sequence_length).num_windows == num_windows  # 5 tokens


def test_less_than_a_window_names_the_knobs(byte_tokenizer, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        write(["abc"], byte_tokenizer, tmp_path, sequence_length=5)
    assert str(caught.value) == (
        "the train documents hold 5 tokens, less than one window: lower pack.sequence_length (5), add text, or give "
        "the split a larger share in `curate`"
    )


def test_ids_that_do_not_fit_the_type_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"pack\.dtype uint16 cannot hold a vocabulary of 65537: set it to uint32"):
        write(["a"], WideEncoder(65_537), tmp_path)
    write(["a"], WideEncoder(65_537), tmp_path, dtype="uint32")
    assert TokenDataset(tmp_path, "train").tokens().tolist() == [0, 65_536, 0]
    write(["a"], WideEncoder(65_536), tmp_path)
    assert TokenDataset(tmp_path, "train").tokens().tolist() == [0, 65_535, 0]


def test_packing_twice_gives_the_same_bytes(tokenizer, texts: list[str], tmp_path: Path) -> None:
    write(texts, tokenizer, tmp_path / "one")
    write(texts, tokenizer, tmp_path / "two")
    assert sha256_path(tmp_path / "one") == sha256_path(tmp_path / "two")


@pytest.mark.parametrize("damage", ["truncated", "modified", "longer", "missing"])
def test_a_damaged_shard_is_refused(byte_tokenizer, tmp_path: Path, damage: str) -> None:
    write(["abc", "de"], byte_tokenizer, tmp_path)
    shard = tmp_path / "train.bin"
    content = shard.read_bytes()
    if damage == "missing":
        shard.unlink()
    else:
        changed = {"truncated": content[:-2], "modified": content[:-1] + b"\x01", "longer": content + b"\0\0"}
        shard.write_bytes(changed[damage])
    with pytest.raises(DataError, match=r"train\.bin is missing, truncated or changed since it was packed"):
        TokenDataset(tmp_path, "train")


def test_a_folder_that_was_never_packed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.json does not exist"):
        TokenDataset(tmp_path, "train")


def test_windows_belong_to_the_source_of_their_first_predicted_token(byte_tokenizer, tmp_path: Path) -> None:
    params = PackParams(sequence_length=3, dtype="uint16")
    shards = [
        *shards_of(tmp_path / "0", ["ab", "c"], "zeta"),
        *shards_of(tmp_path / "1", ["d"], "zeta"),
        *shards_of(tmp_path / "2", ["efgh"], "alpha"),
    ]
    facts = pack(shards, CorpusEncoder(byte_tokenizer), params, tmp_path, "train")
    assert facts.sources == {
        "zeta": SourceFacts(first_token=1, num_tokens=7, num_documents=3, num_bytes=4),
        "alpha": SourceFacts(first_token=8, num_tokens=5, num_documents=1, num_bytes=4),
    }
    weights = {"zeta": 1.0, "alpha": 2.0}
    described = {**params.model_dump(), "tokenizer": "toy", "weights": weights, "train": facts.as_json()}
    write_json(tmp_path / MANIFEST, described)
    data = TokenDataset(tmp_path, "train")
    # Stream: . a b . | c . d . | e f g h | (first predicted tokens: a, c, e of windows 0, 1, 2; then h)
    assert [byte_tokenizer.decode(data.window(i)) for i in range(4)] == [
        "<|endoftext|>ab<|endoftext|>",
        "<|endoftext|>c<|endoftext|>d",
        "d<|endoftext|>ef",
        "fgh<|endoftext|>",
    ]
    assert data.source_windows() == {"zeta": range(0, 3), "alpha": range(3, 4)}
    assert data.weights == weights


def test_sources_that_alternate_are_a_bug(byte_tokenizer, tmp_path: Path) -> None:
    pieces = (("a", "zeta"), ("b", "alpha"), ("c", "zeta"))
    shards = [shard for text, source in pieces for shard in shards_of(tmp_path / text, [text], source)]
    with pytest.raises(ValueError, match="source zeta are not next to each other"):
        pack(shards, CorpusEncoder(byte_tokenizer), PackParams(sequence_length=2, dtype="uint16"), tmp_path, "train")
