"""How large the model of params.yaml is: by arithmetic, or by the headers of its weight files, without torch.

Only a family of the transformers library, whose formula is its code, is built for it, on a device that has no memory.
"""

import json
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from forgeline.core.errors import DataError
from forgeline.model.params import Architecture, DecoderParams, LearnedParams, LlamaParams, TransformersParams

if TYPE_CHECKING:
    from forgeline.planning.family_size import FamilySizes

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_HEADER_LENGTH_BYTES = 8  # a safetensors file starts with the length of its JSON header, little-endian
_LARGEST_HEADER_BYTES = 100_000_000  # the format's own limit


def num_parameters(params: Architecture, vocab_size: int) -> int:
    """Weights of a new model; tied embeddings are counted once.

    Raises:
        ParamsError: The transformers library cannot build the family with these overrides.
    """
    if isinstance(params, TransformersParams):
        return _without_weights(params, vocab_size).num_parameters
    hidden, layers = params.hidden_size, params.num_hidden_layers
    embeddings = vocab_size * hidden * (1 if params.tie_word_embeddings else 2)
    vectors = layers * sum(_biases(params).values()) + _num_norms(params) * _norm_size(params, hidden)
    if isinstance(params, DecoderParams):
        if isinstance(params.positions, LearnedParams):
            embeddings += params.max_position_embeddings * hidden
        if params.qk_norm:
            vectors += 2 * layers * _norm_size(params, params.head_size)
    return embeddings + num_linear_parameters(params, vocab_size) + vectors


def num_linear_parameters(params: Architecture, vocab_size: int) -> int:
    """Weights of the linear layers of the decoder, without biases, which are what is quantized."""
    if isinstance(params, TransformersParams):
        return sum(rows * columns for _, rows, columns in _without_weights(params, vocab_size).linear_layers)
    return params.num_hidden_layers * sum(rows * columns for rows, columns in _linear_layers(params).values())


def num_adapter_parameters(params: Architecture, vocab_size: int, rank: int, target_modules: Sequence[str]) -> int:
    """Weights of a LoRA adapter (Hu et al. 2021): two thin matrices beside every layer that it is for."""
    if isinstance(params, TransformersParams):
        layers = _without_weights(params, vocab_size).linear_layers
        return rank * sum(rows + columns for name, rows, columns in layers if name in target_modules)
    sizes = _linear_layers(params)
    return params.num_hidden_layers * rank * sum(sum(sizes[name]) for name in target_modules if name in sizes)


def dimensions(params: Architecture, vocab_size: int) -> tuple[int, int, int]:
    """Hidden size, size inside the feed-forward layers, and number of layers."""
    if isinstance(params, TransformersParams):
        family = _without_weights(params, vocab_size)
        return family.hidden_size, family.intermediate_size, family.num_hidden_layers
    return params.hidden_size, params.intermediate_size, params.num_hidden_layers


def linear_names(params: LlamaParams | DecoderParams) -> list[str]:
    """What the linear layers of a decoder layer are called."""
    return list(_linear_layers(params))


def _num_norms(params: LlamaParams | DecoderParams) -> int:
    """Norms over the hidden size: two in each layer, and one before the head."""
    return 2 * params.num_hidden_layers + 1


def _norm_size(params: LlamaParams | DecoderParams, size: int) -> int:
    """Weights of a norm: a gain, and with layer norm an offset."""
    return 2 * size if isinstance(params, DecoderParams) and params.norm == "layernorm" else size


def _linear_layers(params: LlamaParams | DecoderParams) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of the linear layers of a decoder layer."""
    hidden, inner = params.hidden_size, params.intermediate_size
    key_value = params.num_key_value_heads * params.head_size
    layers = {
        "q_proj": (hidden, hidden),
        "k_proj": (hidden, key_value),
        "v_proj": (hidden, key_value),
        "o_proj": (hidden, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }
    if isinstance(params, DecoderParams) and not params.is_gated:
        del layers["gate_proj"]
    return layers


def _biases(params: LlamaParams | DecoderParams) -> dict[str, int]:
    """Entries of the biases of a decoder layer, by the linear layer they belong to."""
    if isinstance(params, LlamaParams):
        return {}
    has_bias = {True: params.attention_bias, False: params.mlp_bias}
    layers = _linear_layers(params)
    return {name: outputs for name, (_, outputs) in layers.items() if has_bias[name in ATTENTION]}


def _without_weights(params: TransformersParams, vocab_size: int) -> "FamilySizes":
    from forgeline.planning.family_size import family_sizes  # only here: torch takes seconds to import

    return family_sizes(params.model_dump_json(), vocab_size)


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
