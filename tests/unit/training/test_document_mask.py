from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.training.runs import same_bytes
from transformers import Mamba2Config, Mamba2ForCausalLM

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.storage import sha256_path, write_json
from forgeline.model.build import build_model
from forgeline.model.params import ModelParams
from forgeline.packing.dataset import MANIFEST, TokenDataset
from forgeline.training.pretraining.batch import read_batch
from forgeline.training.pretraining.documents import require_document_mask
from forgeline.training.pretraining.network import LossNetwork
from forgeline.training.pretraining.objectives import next_token_objective

END = 1  # of a document
LENGTH = 8


def dataset(folder: Path, documents: list[list[int]]) -> TokenDataset:
    """Documents of given ids, written as the pack stage does: the end token first, and after each of them."""
    stream, ends = [END], [1]
    for document in documents:
        stream += [*document, END]
        ends.append(len(stream))
    np.array(stream, dtype=np.uint16).tofile(folder / "train.bin")
    np.array(ends, dtype=np.int64).tofile(folder / "train.idx")
    facts = {
        "num_documents": len(documents),
        "num_tokens": len(stream),
        "num_windows": (len(stream) - 1) // LENGTH,
        "num_bytes": len(stream),
        "sha256": sha256_path(folder / "train.bin"),
        "sources": {"toy": {"first_token": 1, "num_tokens": len(stream) - 1}},
    }
    values = {"sequence_length": LENGTH, "dtype": "uint16", "tokenizer": "x", "weights": {"toy": 1.0}}
    write_json(folder / MANIFEST, {**values, "train": facts})
    return TokenDataset(folder, "train")


def test_positions_by_hand(tmp_path: Path) -> None:
    data = dataset(tmp_path, [[10, 11], [20, 21, 22], [], [30, 31, 32, 33, 34, 35, 36, 37, 38]])
    # Stream: 1 10 11 1 20 21 22 1 | 1 30 31 32 33 34 35 36 | 37 38 1
    assert data.windows(np.array([0, 1])).tolist() == [
        [1, 10, 11, 1, 20, 21, 22, 1, 1],
        [1, 30, 31, 32, 33, 34, 35, 36, 37],
    ]
    assert data.positions(np.array([0, 1])).tolist() == [[0, 1, 2, 0, 1, 2, 3, 0], [0, 1, 2, 3, 4, 5, 6, 7]]


def test_a_window_that_begins_inside_a_document_counts_from_there(
    tmp_path: Path,
) -> None:
    data = dataset(tmp_path, [list(range(10, 23)), [30, 31, 32, 33]])
    # 1 10 ... 16 | 17 ... 22 1 30 31 | 32 33 1
    assert data.positions(np.array([1])).tolist() == [[0, 1, 2, 3, 4, 5, 0, 1]]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 12), min_size=3, max_size=9), st.integers(0, 10**6))
def test_positions_restart_exactly_at_the_end_tokens(tmp_path_factory, lengths: list[int], seed: int) -> None:
    folder = tmp_path_factory.mktemp("any")
    rng = np.random.default_rng(seed)
    documents = [rng.integers(2, 9, length).tolist() for length in [*lengths, LENGTH]]
    data = dataset(folder, documents)
    windows = np.arange(len(data))
    expected = []
    for ids in data.windows(windows)[:, :-1].tolist():
        positions, count = [], -1
        for token in ids:
            count = 0 if token == END else count + 1
            positions.append(count)
        expected.append(positions)
    assert data.positions(windows).tolist() == expected


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_an_index_that_does_not_fit_is_refused(tmp_path: Path, damage: str) -> None:
    data = dataset(tmp_path, [[10, 11, 12, 13], [20, 21, 22, 23]])
    index = tmp_path / "train.idx"
    content = index.read_bytes()
    if damage == "missing":
        index.unlink()
    else:
        index.write_bytes(content[:-3] if damage == "cut" else content[:-8] + bytes(8))
    with pytest.raises(DataError, match=r"train\.idx is missing, or does not hold the ends of 2 documents"):
        data.positions(np.array([0]))
    data.windows(np.array([0]))  # without the knob it is not needed


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_another_document_in_the_window_changes_nothing(
    tmp_path: Path, tiny_architecture: ModelParams, tokenizer, kv_heads: int
) -> None:
    torch.manual_seed(3)
    model = build_model(tiny_architecture.model_copy(update={"num_key_value_heads": kv_heads}), tokenizer).eval()
    data = dataset(tmp_path, [[10, 11], [20, 21, 22, 23], [12, 13, 14, 15, 16, 17, 18, 19]])
    windows = np.array([0, 1])
    logits, contaminated, alone = [], [], []
    for other in (11, 250):
        documents = [[10, other], [20, 21, 22, 23], [other, other, 14, 15, 16, 17, 18, 19]]
        data = dataset(tmp_path, documents)
        masked, plain = (read_batch(data, windows, document_mask) for document_mask in (True, False))
        with torch.no_grad():
            logits.append(model(**masked.inputs, use_cache=False).logits)
            contaminated.append(model(**plain.inputs, use_cache=False).logits)
            alone.append(model(input_ids=torch.tensor([[END, 20, 21, 22, 23]]), use_cache=False).logits)
    # The second document and the end token before it: inputs 3 to 7 of the first window.
    assert torch.equal(logits[0][0, 3:8], logits[1][0, 3:8])
    assert not torch.equal(contaminated[0][0, 3:8], contaminated[1][0, 3:8])
    # Each of its tokens is predicted as if there were nothing else, start included.
    assert torch.allclose(logits[0][0, 3:8], alone[0][0, :5], atol=1e-6)


def test_gradients_of_a_document_come_from_it_alone(tmp_path: Path, tiny_model) -> None:
    model = tiny_model(3)
    batch = read_batch(dataset(tmp_path, [[10, 11], [20, 21, 22, 23]]), np.array([0]), True)
    embedded: list[torch.Tensor] = []
    model.model.embed_tokens.register_forward_hook(lambda *args: embedded.append(args[2]) or args[2].retain_grad())
    logits = model(**batch.inputs, use_cache=False).logits
    logits[0, 4:].square().sum().backward()
    assert embedded[0].grad[0].abs().sum(-1).ne(0).tolist() == [False] * 3 + [True] * 5


def test_without_the_knob_bytes_are_as_without_the_code(train, packed) -> None:
    plain, result = train(scratch="one", document_mask=False)
    assert read_batch(packed["train"], np.array([0]), False).inputs.keys() == {"input_ids"}
    masked, masked_result = train(scratch="two", document_mask=True)
    assert not same_bytes(plain, masked)
    assert result.first("validation_loss") != masked_result.first("validation_loss")


def test_the_loss_of_masked_windows_is_that_of_their_documents(tmp_path: Path, tiny_model) -> None:
    model = tiny_model(3).eval()
    documents = [[10, 11], [20, 21, 22, 23]]
    batch = read_batch(dataset(tmp_path, documents), np.array([0]), True)
    loss, num_tokens, _ = next_token_objective(LossNetwork(model), batch)
    pieces = [[END, *document, END] for document in documents]
    alone = sum(
        model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss * (len(ids) - 1) for ids in pieces
    )
    assert num_tokens == 8
    assert loss.item() == pytest.approx(alone.item(), rel=1e-6)


def test_a_model_with_a_state_cannot_keep_documents_apart(tiny_model) -> None:
    require_document_mask(tiny_model(3))
    config = Mamba2Config(
        vocab_size=30, hidden_size=16, state_size=4, num_heads=4, head_dim=8, num_hidden_layers=1, n_groups=1
    )
    with pytest.raises(ParamsError, match="does not keep the documents of a window apart: set it to false"):
        require_document_mask(Mamba2ForCausalLM(config))
