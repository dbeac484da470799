"""A model folder as one GGUF file, which llama.cpp and what builds on it run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import MODEL_ARCH, GGMLQuantizationType, GGUFWriter, LlamaFileType
from numpy.typing import NDArray
from transformers import PreTrainedConfig, PreTrainedModel

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.storage import read_json
from forgeline.export.gguf_tokenizer import add_tokenizer, gguf_tokenizer
from forgeline.model.loading import MODEL_CONFIG, is_adapter, load_model
from forgeline.tokenization.loading import load_tokenizer

ARCHITECTURES = {
    "llama": MODEL_ARCH.LLAMA,
    "mistral": MODEL_ARCH.LLAMA,
    "qwen2": MODEL_ARCH.QWEN2,
    "qwen3": MODEL_ARCH.QWEN3,
}
TYPES = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q5_0": (GGMLQuantizationType.Q5_0, LlamaFileType.MOSTLY_Q5_0),
    "q4_0": (GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}


def export_gguf(folder: Path, target: Path, kind: str) -> int:
    """Writes a model with its tokenizer and chat template.

    An adapter is merged in memory first. Vectors stay in float32; a matrix whose rows are no multiple of a quantized
    type's block of 32 is written in float16.

    Args:
        folder: Of a causal model or an adapter on one.
        target: The file.
        kind: One of `TYPES`.

    Returns:
        The file's size in bytes.

    Raises:
        ParamsError: The type is unknown.
        DataError: GGUF or llama.cpp has no place for the architecture, the tokenizer or the weights.
    """
    if kind not in TYPES:
        raise ParamsError(f"unknown GGUF type '{kind}': choose one of {', '.join(TYPES)}")
    _require_plain(folder)
    tokenizer = load_tokenizer(folder)
    model = load_model(folder, torch.device("cpu"))
    if is_adapter(folder):
        model = model.merge_and_unload()
    architecture = _require_known(model, folder)
    written = gguf_tokenizer(folder, model.config.vocab_size)
    partial = target.with_name(f"{target.name}.partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(partial, gguf.MODEL_ARCH_NAMES[architecture])
    _add_config(writer, model.config, folder.name, kind)
    add_tokenizer(writer, written, tokenizer)
    for name, tensor in gguf_tensors(model, architecture).items():
        data, type_ = _encoded(tensor, TYPES[kind][0])
        writer.add_tensor(name, data, raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(target)
    return target.stat().st_size


def gguf_tensors(model: PreTrainedModel, architecture: MODEL_ARCH) -> dict[str, NDArray[np.float32]]:
    """The weights under GGUF's names; a head tied to the embeddings is left out, as llama.cpp expects."""
    config = model.config
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    tensors: dict[str, NDArray[np.float32]] = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = tensor.detach().float().numpy()
        if architecture == MODEL_ARCH.LLAMA and name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            array = interleave_halves(array, heads)
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise DataError(f"GGUF has no name for the weights {name} of a {config.model_type} model")
        tensors[found] = array
    return tensors


def interleave_halves(weight: NDArray[np.float32], num_heads: int) -> NDArray[np.float32]:
    """Rows of each head from the order of halves, which transformers rotates, to that of pairs, which llama.cpp does.

    Row i and row i + E/2 of a head of size E are rotated together; here they become rows 2i and 2i + 1.
    """
    rows, columns = weight.shape
    halves = weight.reshape(num_heads, 2, rows // num_heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))


def _require_plain(folder: Path) -> None:
    config = folder / MODEL_CONFIG
    if config.is_file() and "quantization_config" in read_json(config):
        raise DataError(
            f"{folder} is quantized already, in a format that GGUF cannot hold: export the model it was made from and "
            "choose a quantized --type"
        )


def _require_known(model: PreTrainedModel, folder: Path) -> MODEL_ARCH:
    config = model.config
    architecture = ARCHITECTURES.get(config.model_type)
    reason = None
    if architecture is None or not hasattr(model, "lm_head"):
        reason = f"{type(model).__name__} is not one of the causal models of {', '.join(ARCHITECTURES)}"
    elif config.rope_parameters.get("rope_type", "default") != "default":
        reason = f"its positions are scaled ({config.rope_parameters['rope_type']}), which is not written yet"
    elif architecture == MODEL_ARCH.LLAMA and (getattr(config, "attention_bias", 0) or getattr(config, "mlp_bias", 0)):
        reason = "its linear layers have biases, which llama.cpp's Llama has not"
    elif getattr(config, "hidden_act", "silu") != "silu":
        reason = f"its activation function is {config.hidden_act}, and llama.cpp's is silu"
    if architecture is None or reason is not None:
        raise DataError(f"{folder} cannot be written as GGUF: {reason}: use the folder with transformers or vLLM")
    return architecture


def _add_config(writer: GGUFWriter, config: PreTrainedConfig, name: str, kind: str) -> None:
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    added: Mapping[Callable[[Any], None], Any] = {
        writer.add_type: "model",
        writer.add_name: name,
        writer.add_vocab_size: config.vocab_size,
        writer.add_context_length: config.max_position_embeddings,
        writer.add_embedding_length: config.hidden_size,
        writer.add_block_count: config.num_hidden_layers,
        writer.add_feed_forward_length: config.intermediate_size,
        writer.add_head_count: config.num_attention_heads,
        writer.add_head_count_kv: config.num_key_value_heads,
        writer.add_key_length: head_size,
        writer.add_value_length: head_size,
        writer.add_rope_dimension_count: head_size,
        writer.add_rope_freq_base: float(config.rope_parameters["rope_theta"]),
        writer.add_layer_norm_rms_eps: config.rms_norm_eps,
        writer.add_file_type: int(TYPES[kind][1]),
        writer.add_quantization_version: gguf.GGML_QUANT_VERSION,
    }
    for add, value in added.items():
        add(value)


def _encoded(tensor: NDArray[np.float32], kind: GGMLQuantizationType) -> tuple[NDArray[Any], GGMLQuantizationType]:
    if tensor.ndim < 2:
        return tensor.astype(np.float32), GGMLQuantizationType.F32
    block = gguf.GGML_QUANT_SIZES[kind][0]
    if tensor.shape[-1] % block:
        kind = GGMLQuantizationType.F16
    return gguf.quants.quantize(tensor, kind), kind
