"""The arithmetic of sizes against the models themselves."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tests.unit.model.shapes import POSITIONS, decoder_params
from tests.unit.model.test_families import FAMILIES, family

from forgeline.core.errors import DataError
from forgeline.core.params import plain, read_yaml
from forgeline.model.build import build_model
from forgeline.model.params import LlamaParams, ModelParams
from forgeline.planning.model_size import (
    linear_names,
    num_adapter_parameters,
    num_linear_parameters,
    num_parameters,
    num_parameters_of_folder,
)

SHAPES = [{}, {"tie_word_embeddings": False}, {"num_key_value_heads": 1}, {"num_hidden_layers": 3}]


class Vocabulary:
    """All that building a model asks of a tokenizer."""

    bos_token_id, eos_token_id, pad_token_id = 0, 1, 2

    def __len__(self) -> int:
        return 300


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture(params=SHAPES, ids=str)
def shape(request: pytest.FixtureRequest) -> LlamaParams:
    values = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 64, "kind": "llama",
        "attention_dropout": 0.0, "rope_theta": 10_000.0, "rms_norm_eps": 1e-5,
        "initializer_range": 0.02, "tie_word_embeddings": True,
    }  # fmt: skip
    return LlamaParams(**{**values, **request.param})


def test_the_count_is_that_of_the_model(shape: LlamaParams) -> None:
    model = build_model(shape, Vocabulary())
    assert num_parameters(shape, len(Vocabulary())) == count(model)
    linear = sum(layer.weight.numel() for layer in model.model.modules() if isinstance(layer, torch.nn.Linear))
    assert num_linear_parameters(shape, 300) == linear


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"positions": POSITIONS["learned"]},
        {"positions": POSITIONS["alibi"], "activation": "relu", "norm": "layernorm", "qk_norm": True},
        {"attention_bias": True, "activation": "geglu", "qk_norm": True, "tie_word_embeddings": False},
        {"mlp_bias": True, "activation": "leaky_relu", "num_key_value_heads": 1, "sliding_window": 4},
        {"attention_bias": True, "mlp_bias": True, "activation": "reglu", "norm": "layernorm"},
    ],
    ids=str,
)
def test_the_count_is_that_of_the_decoder(changed: dict[str, Any]) -> None:
    params = decoder_params(**changed)
    model = build_model(params, Vocabulary())
    assert num_parameters(params, len(Vocabulary())) == count(model)
    layers = {name: layer for name, layer in model.model.named_modules() if isinstance(layer, torch.nn.Linear)}
    assert num_linear_parameters(params, 300) == sum(layer.weight.numel() for layer in layers.values())
    assert set(linear_names(params)) == {name.rpartition(".")[2] for name in layers}
    adapted = get_peft_model(model, LoraConfig(r=3, target_modules=linear_names(params)))
    trainable = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert num_adapter_parameters(params, 300, 3, linear_names(params)) == trainable


@pytest.mark.parametrize("name", FAMILIES)
def test_the_count_is_that_of_the_family(name: str) -> None:
    params = family(name, **FAMILIES[name])
    assert num_parameters(params, len(Vocabulary())) == count(build_model(params, Vocabulary()))


@pytest.mark.parametrize(
    ("name", "num_published"),
    [("gpt2", 124_439_808), ("qwen3", None), ("mamba2", None)],
)
def test_a_published_size_takes_no_memory_to_count(name: str, num_published: int | None) -> None:
    """GPT-2 with its own vocabulary has the 124,439,808 weights that its checkpoint has."""
    found = num_parameters(family(name), 50_257)
    assert found > 1e9 if num_published is None else found == num_published


def test_the_count_of_the_default_is_the_one_that_pretraining_measured() -> None:
    params = plain(read_yaml(Path("presets/default.yaml")))
    measured = json.loads(Path("metrics/pretrain.json").read_text())["num_parameters"]
    estimated = num_parameters(ModelParams.model_validate(params["model"]).root, params["tokenizer"]["vocab_size"])
    assert estimated == pytest.approx(measured, rel=0.02)


@pytest.mark.parametrize("modules", [["q_proj", "v_proj"], ["k_proj", "down_proj"], ["gate_proj"]])
def test_the_adapter_is_as_large_as_pefts(shape: LlamaParams, modules: list[str]) -> None:
    model = get_peft_model(build_model(shape, Vocabulary()), LoraConfig(r=3, target_modules=modules))
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert num_adapter_parameters(shape, 300, 3, modules) == trainable


def test_a_folder_is_counted_by_the_headers_of_its_files(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(7)}, tmp_path / "model-1.safetensors")
    save_file({"c": torch.zeros(2, 2, 2)}, tmp_path / "model-2.safetensors", metadata={"format": "pt"})
    assert num_parameters_of_folder(tmp_path) == 15 + 7 + 8


def test_a_folder_without_weights_or_with_damaged_ones_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no \.safetensors file: correct pretrain\.init_from"):
        num_parameters_of_folder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(DataError, match=r"model\.safetensors is not a safetensors file"):
        num_parameters_of_folder(tmp_path)
