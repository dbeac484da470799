from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.records import documents_table
from forgeline.core.storage import sha256_path, write_json
from forgeline.packing.dataset import MANIFEST, TokenDataset, WindowOrder
from forgeline.packing.pack import ShardFacts, pack
from forgeline.packing.params import PackParams


def write(texts: list[str], tokenizer, folder: Path, sequence_length: int = 2, dtype: str = "uint16") -> ShardFacts:
    params = PackParams(sequence_length=sequence_length, dtype=dtype)
    facts = pack(documents_table(texts, "toy"), tokenizer, params, folder, "train")
    write_json(folder / MANIFEST, {**params.model_dump(), "tokenizer": "toy", "train": facts.as_json()})
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
    )
    data = TokenDataset(tmp_path, "train")
    assert data.tokens().tolist() == stream
    assert [data.window(i).tolist() for i in range(len(data))] == [[0, 68, 69], [69, 0, 70]]
    assert data.windows(np.array([1, 0, 1])).tolist() == [[69, 0, 70], [0, 68, 69], [69, 0, 70]]
    assert data.bytes_per_token == 0.5


def test_a_literal_boundary_in_the_text_does_not_hide_the_document_ends(byte_tokenizer, tmp_path: Path) -> None:
    write(["a<|endoftext|>b", "", "c"], byte_tokenizer, tmp_path)
    assert np.fromfile(tmp_path / "train.idx", dtype=np.int64).tolist() == [1, 5, 6, 8]
    assert TokenDataset(tmp_path, "train").tokens().tolist() == [0, 68, 0, 69, 0, 0, 70, 0]


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


def test_more_documents_than_a_batch_make_the_same_stream(byte_tokenizer, tmp_path: Path) -> None:
    texts = [str(number) for number in range(1001)]
    facts = write(texts, byte_tokenizer, tmp_path, sequence_length=100)
    assert facts.num_documents == 1001
    assert byte_tokenizer.decode(TokenDataset(tmp_path, "train").tokens()) == (
        "<|endoftext|>" + "".join(f"{text}<|endoftext|>" for text in texts)
    )


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


class WideTokenizer:
    """As many entries as told; encodes every text as its last one."""

    bos_token_id = 0

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __call__(self, texts: list[str], add_special_tokens: bool) -> dict[str, list[list[int]]]:
        return {"input_ids": [[self.size - 1] for _ in texts]}


def test_ids_that_do_not_fit_the_type_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"pack\.dtype uint16 cannot hold a vocabulary of 65537: set it to uint32"):
        write(["a"], WideTokenizer(65_537), tmp_path)
    write(["a"], WideTokenizer(65_537), tmp_path, dtype="uint32")
    assert TokenDataset(tmp_path, "train").tokens().tolist() == [0, 65_536, 0]
    write(["a"], WideTokenizer(65_536), tmp_path)
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


class TestWindowOrder:
    @given(st.integers(1, 12), st.integers(0, 3), st.integers(0, 4))
    def test_every_epoch_visits_every_window_once(self, num_windows: int, seed: int, epoch: int) -> None:
        visited = WindowOrder(num_windows, seed).indices(epoch * num_windows, num_windows)
        assert Counter(visited.tolist()) == Counter(range(num_windows))

    @given(st.integers(1, 9), st.lists(st.integers(0, 7), max_size=9))
    def test_the_order_is_a_function_of_the_position_alone(self, num_windows: int, counts: list[int]) -> None:
        whole = WindowOrder(num_windows, 5).indices(0, sum(counts)).tolist()
        resumed, going = [], WindowOrder(num_windows, 5)
        position = 0
        for count in counts:
            fresh = WindowOrder(num_windows, 5).indices(position, count).tolist()
            assert fresh == going.indices(position, count).tolist()
            resumed += fresh
            position += count
        assert resumed == whole

    def test_going_back_gives_the_same(self) -> None:
        order = WindowOrder(7, 1)
        first = order.indices(0, 7).tolist()
        order.indices(70, 7)
        assert order.indices(0, 7).tolist() == first

    def test_epochs_and_seeds_differ(self) -> None:
        order = WindowOrder(50, 1)
        first, second = order.indices(0, 50).tolist(), order.indices(50, 50).tolist()
        other = WindowOrder(50, 2).indices(0, 50).tolist()
        assert len({tuple(first), tuple(second), tuple(other), tuple(range(50))}) == 4
