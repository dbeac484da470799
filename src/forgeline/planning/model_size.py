"""How large the model of params.yaml is, by arithmetic or by the headers of its weight files, without torch."""

import json
from collections.abc import Sequence
from math import prod
from pathlib import Path

from forgeline.core.errors import DataError
from forgeline.model.params import ModelParams

_HEADER_LENGTH_BYTES = 8  # a safetensors file starts with the length of its JSON header, little-endian
_LARGEST_HEADER_BYTES = 100_000_000  # the format's own limit


def num_parameters(params: ModelParams, vocab_size: int) -> int:
    """Weights of a Llama (Touvron et al. 2023): no biases, RMS norms with a gain, tied embeddings counted once."""
    norms = params.hidden_size * (2 * params.num_hidden_layers + 1)
    embeddings = vocab_size * params.hidden_size * (1 if params.tie_word_embeddings else 2)
    return embeddings + num_linear_parameters(params) + norms


def num_linear_parameters(params: ModelParams) -> int:
    """Weights of the linear layers of the decoder, which are what is quantized."""
    return params.num_hidden_layers * sum(rows * columns for rows, columns in _linear_layers(params).values())


def num_adapter_parameters(params: ModelParams, rank: int, target_modules: Sequence[str]) -> int:
    """Weights of a LoRA adapter (Hu et al. 2021): two thin matrices beside every layer that it is for."""
    layers = _linear_layers(params)
    return params.num_hidden_layers * rank * sum(sum(layers[name]) for name in target_modules if name in layers)


def _linear_layers(params: ModelParams) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of the linear layers of a decoder layer."""
    hidden, inner = params.hidden_size, params.intermediate_size
    key_value = params.num_key_value_heads * (hidden // params.num_attention_heads)
    return {
        "q_proj": (hidden, hidden),
        "k_proj": (hidden, key_value),
        "v_proj": (hidden, key_value),
        "o_proj": (hidden, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }


def num_parameters_of_folder(folder: Path) -> int:
    """Weights in the safetensors files of a model folder, by their headers alone.

    Raises:
        DataError: The folder holds no such file, or one that is damaged.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise DataError(f"{folder} holds no .safetensors file: correct pretrain.init_from in params.yaml")
    return sum(_num_elements(file) for file in files)


def _num_elements(file: Path) -> int:
    with file.open("rb") as content:
        length = int.from_bytes(content.read(_HEADER_LENGTH_BYTES), "little")
        text = content.read(length) if length <= _LARGEST_HEADER_BYTES else b""
    try:
        header = json.loads(text)
        return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{file} is not a safetensors file: restore it or run `dvc repro`") from None
