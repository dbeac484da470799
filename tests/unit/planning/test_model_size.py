"""The arithmetic of sizes against the models themselves."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

from forgeline.core.errors import DataError
from forgeline.core.params import plain, read_yaml
from forgeline.model.build import build_model
from forgeline.model.params import LlamaParams, ModelParams
from forgeline.planning.model_size import (
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
