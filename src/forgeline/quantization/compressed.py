"""Model folders in formats of compressed-tensors, which transformers and vLLM load by themselves.

`pack-quantized` packs the codes of weights into 32-bit words; `int-quantized` is for 8-bit weights and activations.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from forgeline.quantization.grid import DTYPES, QuantizedWeight
from forgeline.quantization.spec import QuantizationSpec

WEIGHTS_FILE = "model.safetensors"


def save_quantized(
    model: PreTrainedModel,
    weights: Mapping[str, QuantizedWeight],
    spec: QuantizationSpec,
    tokenizer: PreTrainedTokenizerBase,
    target: Path,
) -> None:
    """Writes a model folder with packed weights, configuration and tokenizer.

    Args:
        model: The model the weights belong to; gives everything that is not quantized.
        weights: Quantized weights by layer name.
        spec: What they are.
        tokenizer: Saved beside the weights, with its chat template.
        target: The folder.
    """
    target.mkdir(parents=True, exist_ok=True)
    save_file(stored_tensors(model, weights, spec), target / WEIGHTS_FILE, metadata={"format": "pt"})
    config = copy.deepcopy(model.config)
    config.dtype = DTYPES[spec.head_dtype]
    config.quantization_config = quantization_config(spec, _unquantized_linears(model, weights))
    config.save_pretrained(target)
    model.generation_config.save_pretrained(target)
    tokenizer.save_pretrained(target)


def stored_tensors(
    model: PreTrainedModel, weights: Mapping[str, QuantizedWeight], spec: QuantizationSpec
) -> dict[str, torch.Tensor]:
    """The tensors of the weights file: packed codes, scales and shapes, and the rest; a tied head is left out."""
    tensors: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict().items():
        layer = name.removesuffix(".weight")
        if layer in weights:
            tensors.update({f"{layer}.{key}": value for key, value in _packed(weights[layer], spec).items()})
        elif tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            tensors[name] = tensor.detach().to("cpu", DTYPES[spec.head_dtype]).contiguous()
    return tensors


def quantization_config(spec: QuantizationSpec, ignored: list[str]) -> dict[str, Any]:
    """The `quantization_config` of config.json."""
    weights = {
        "num_bits": spec.bits,
        "type": "int",
        "symmetric": spec.symmetric,
        "strategy": "channel" if spec.group_size is None else "group",
        "group_size": spec.group_size,
        "dynamic": False,
    }
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None, "output_activations": None}
    if spec.activation_bits is not None:
        group["input_activations"] = _per_token(spec.activation_bits)
    config = {
        "quant_method": "compressed-tensors",
        "format": _format(spec),
        "quantization_status": "compressed",
        "config_groups": {"group_0": {**group, "format": _format(spec)}},
        "ignore": ignored,
        "kv_cache_scheme": None if spec.kv_bits is None else _per_token(spec.kv_bits),
        "global_compression_ratio": None,
    }
    # transformers 5.23 makes no room for packed zero points unless it dequantizes while it loads.
    return config if spec.symmetric else {**config, "dequantize": True}


def _per_token(num_bits: int) -> dict[str, Any]:
    """Scales that the running model finds: of [B, T, D] for each token, of keys and values [B, H, T, E] for each head.

    The library keeps the first two dimensions apart, whatever they are.
    """
    return {"num_bits": num_bits, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}


def _format(spec: QuantizationSpec) -> str:
    return "pack-quantized" if spec.activation_bits is None else "int-quantized"


def _packed(weight: QuantizedWeight, spec: QuantizationSpec) -> dict[str, torch.Tensor]:
    if spec.activation_bits is not None:
        return {"weight": weight.codes.cpu().contiguous(), "weight_scale": weight.scales.cpu().contiguous()}
    packed = {
        "weight_packed": pack_to_int32(weight.codes.cpu(), spec.bits),
        "weight_scale": weight.scales.cpu().contiguous(),
        "weight_shape": torch.tensor(weight.codes.shape),
    }
    if not spec.symmetric:
        packed["weight_zero_point"] = pack_to_int32(weight.zero_points.cpu(), spec.bits, packed_dim=0)
    return packed


def _unquantized_linears(model: PreTrainedModel, weights: Mapping[str, QuantizedWeight]) -> list[str]:
    return sorted(n for n, module in model.named_modules() if isinstance(module, nn.Linear) and n not in weights)
