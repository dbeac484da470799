"""A real model that was made elsewhere: SmolLM2-135M from a GGUF file, its vocabulary extended, an adapter trained."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.tokenization.tokenizer_params import smollm2_file

from forgeline.core.storage import sha256_path, write_json
from forgeline.model.initial import initial_model
from forgeline.model.loading import load_model
from forgeline.model.params import ModelParams
from forgeline.packing.dataset import MANIFEST, TokenDataset
from forgeline.tokenization.adopt import origin_fingerprint
from forgeline.tokenization.extension import EXTENSION_FILE
from forgeline.tokenization.loading import load_tokenizer
from forgeline.tokenization.origin import find_origin
from forgeline.training.pretraining.adapted import adapted, save_whole, whole_model

pytestmark = pytest.mark.slow

TERM = " hypertelorism"
TEXT = "Hypertelorism is an increased distance between the orbits. A child with hypertelorism was seen in the clinic. "


@pytest.fixture(scope="module")
def gguf() -> Path:
    """The file that a development dependency ships."""
    return smollm2_file()


@pytest.fixture(scope="module")
def extended(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its tokenizer with a medical word more."""
    from transformers import AutoTokenizer

    origin = find_origin(str(gguf), "tokenizer.origin")
    tokenizer = AutoTokenizer.from_pretrained(str(origin.folder), **origin.arguments)
    pieces, size = tokenizer.encode(TERM, add_special_tokens=False), len(tokenizer)
    assert len(pieces) > 2
    tokenizer.add_tokens([TERM])
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(folder)
    extension = {"origin": origin_fingerprint(origin), "base_vocab_size": size, "pieces": [pieces]}
    write_json(folder / EXTENSION_FILE, extension)
    return folder


def packed_text(tokenizer_folder: Path, folder: Path) -> TokenDataset:
    """The text, as the pack stage stores it."""
    ids = load_tokenizer(tokenizer_folder).encode(TEXT * 8, add_special_tokens=False)
    np.array(ids, dtype=np.uint16).tofile(folder / "train.bin")
    source = {"first_token": 1, "num_tokens": len(ids) - 1, "num_documents": 1, "num_bytes": len(TEXT * 8)}
    facts = {**source, "num_windows": (len(ids) - 1) // 32, "sha256": sha256_path(folder / "train.bin")}
    values = {"sequence_length": 32, "dtype": "uint16", "tokenizer": "x", "weights": {"toy": 1.0}}
    write_json(folder / MANIFEST, {**values, "train": {**facts, "sources": {"toy": source}}})
    return TokenDataset(folder, "train")


def test_it_is_extended_trained_merged_and_loaded_again(
    gguf: Path, extended: Path, tiny_architecture: ModelParams, train, pretrain_params, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(extended)
    data = packed_text(extended, tmp_path)
    start = initial_model(str(gguf), tiny_architecture, tokenizer, extended)
    assert start.sha256 == sha256_path(gguf)
    assert start.model.num_parameters() == pytest.approx(134.5e6, rel=0.01)
    options = {
        "init_from": str(gguf),
        "peft": "lora",
        "train_embeddings": "new",
        "num_steps": 2,
        "micro_batch_size": 2,
        "eval_windows": 2,
        "schedule": {"name": "constant", "warmup_steps": 0},
        "optimizer": {
            "name": "adamw",
            "learning_rate": 1e-3,
            "betas": [0.9, 0.95],
            "epsilon": 1e-8,
            "weight_decay": 0.0,
        },
    }
    torch.manual_seed(1)
    model = adapted(start.model, pretrain_params(**options), start.new_ids)
    trained, result = train(model, data=data, validation=data, **options)
    assert result.first("validation_loss") < 6.0  # a model that knows English, and not a random one: ln 49,153 is 10.8
    assert result.last("validation_loss") < result.first("validation_loss")
    ids = torch.from_numpy(data.window(0))[None]
    assert (ids == start.new_ids[0]).any()
    with torch.no_grad():
        expected = trained.eval()(input_ids=ids).logits
        save_whole(whole_model(result.model), tokenizer, tmp_path / "base")
        loaded = load_model(tmp_path / "base", torch.device("cpu"))
        difference = (loaded(input_ids=ids).logits - expected).abs().max()
    assert difference < 1e-3
