"""Model folders in the compressed-tensors format `pack-quantized`, which transformers and vLLM load by themselves."""

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
) -> dict[str, torch.Tensor]:
    """Writes a model folder with packed weights, configuration and tokenizer.

    Args:
        model: The model the weights belong to; gives everything that is not quantized.
        weights: Quantized weights by layer name.
        spec: What they are.
        tokenizer: Saved beside the weights, with its chat template.
        target: The folder.

    Returns:
        The tensors as stored, by name.
    """
    target.mkdir(parents=True, exist_ok=True)
    tensors = stored_tensors(model, weights, spec)
    save_file(tensors, target / WEIGHTS_FILE, metadata={"format": "pt"})
    config = copy.deepcopy(model.config)
    config.dtype = DTYPES[spec.head_dtype]
    config.quantization_config = quantization_config(spec, _unquantized_linears(model, weights))
    config.save_pretrained(target)
    model.generation_config.save_pretrained(target)
    tokenizer.save_pretrained(target)
    return tensors


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
        "strategy": "group",
        "group_size": spec.group_size,
        "dynamic": False,
    }
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None, "output_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": {**group, "format": "pack-quantized"}},
        "ignore": ignored,
        "kv_cache_scheme": None,
        "global_compression_ratio": None,
    }


def num_bits_of(tensors: Mapping[str, torch.Tensor]) -> int:
    """Bits that tensors take."""
    return sum(8 * tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _packed(weight: QuantizedWeight, spec: QuantizationSpec) -> dict[str, torch.Tensor]:
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
