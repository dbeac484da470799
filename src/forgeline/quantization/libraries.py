"""Methods of bitsandbytes and torchao, through transformers, which saves and loads what they make.

Both are optional. Which hardware a method needs is found out by running it on a small layer before the model is read.
"""

import importlib.util
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, TorchAoConfig

from forgeline.core.errors import ParamsError
from forgeline.quantization.grid import DTYPES
from forgeline.quantization.spec import QuantizationSpec

OUTLIER_THRESHOLD = 6.0  # of LLM.int8(): features with a larger activation are multiplied in 16 bits (the paper's)
_PACKAGES = ("bitsandbytes", "torchao")
_PROBE_SIZE = 256  # a multiple of every group size there is


def quantize_with_library(source: Path, spec: QuantizationSpec, device: torch.device, target: Path) -> None:
    """Quantizes the model folder `source` into the folder `target`; the tokenizer is not copied.

    Raises:
        ParamsError: The library is missing, or its method does not run on this device.
    """
    config = library_config(spec)
    _probe(config, spec, device)
    model = AutoModelForCausalLM.from_pretrained(
        str(source), quantization_config=config, dtype=DTYPES[spec.head_dtype], device_map={"": device},
        local_files_only=True,
    )  # fmt: skip
    model.save_pretrained(target)


def used_library(method: str) -> dict[str, Any]:
    """For the lineage: under `optional_libraries` the version of the package behind a method, if there is one."""
    package = method.partition("_")[0]
    if package not in _PACKAGES:
        return {}
    return {"optional_libraries": {package: version(package)}}


def library_config(spec: QuantizationSpec) -> Any:
    """What transformers has to be told.

    Raises:
        ParamsError: The library is not installed.
    """
    library = spec.method.partition("_")[0]
    if importlib.util.find_spec(library) is None:
        raise ParamsError(
            f"quantize: method {spec.method} needs the package {library}, which is not installed: run "
            "`pip install -e .[quantization]`, or take one of the methods rtn, gptq, awq, hqq and smoothquant"
        )
    if spec.method == "bitsandbytes_int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=OUTLIER_THRESHOLD)
    if spec.method == "bitsandbytes_nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=DTYPES[spec.head_dtype],
        )  # fmt: skip
    from torchao.quantization import Int4WeightOnlyConfig, Int8WeightOnlyConfig

    if spec.method == "torchao_int8":
        return TorchAoConfig(Int8WeightOnlyConfig())
    return TorchAoConfig(Int4WeightOnlyConfig(group_size=spec.group_size))


def _probe(config: Any, spec: QuantizationSpec, device: torch.device) -> None:
    """Quantizes a layer and runs it, to find out rather than to guess."""
    dtype = DTYPES[spec.head_dtype]
    try:
        with torch.no_grad():
            layer = _probe_layer(config, spec, dtype, device)
            output = layer(torch.ones(1, _PROBE_SIZE, dtype=dtype, device=device))
    except (ImportError, NotImplementedError, RuntimeError, TypeError, ValueError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ParamsError(
            f"quantize: method {spec.method} does not run on {_name(device)} ({reason}): install what it "
            "asks for, run it on a GPU that its library supports, or take another method"
        ) from None
    if not bool(output.isfinite().all()):
        raise ParamsError(
            f"quantize: method {spec.method} with head_dtype {spec.head_dtype} gives numbers that are not finite on "
            f"{_name(device)}: take another head_dtype or method"
        )


def _probe_layer(config: Any, spec: QuantizationSpec, dtype: torch.dtype, device: torch.device) -> nn.Module:
    plain = nn.Linear(_PROBE_SIZE, _PROBE_SIZE, bias=False, dtype=dtype)
    if isinstance(config, BitsAndBytesConfig):
        from bitsandbytes.nn import Linear4bit, Linear8bitLt

        if spec.bits == 8:
            layer: nn.Module = Linear8bitLt(
                _PROBE_SIZE, _PROBE_SIZE, bias=False, has_fp16_weights=False, threshold=OUTLIER_THRESHOLD
            )
        else:
            layer = Linear4bit(_PROBE_SIZE, _PROBE_SIZE, bias=False, compute_dtype=dtype, quant_type="nf4")
        layer.load_state_dict(plain.state_dict())
        return layer.to(device)
    from torchao.quantization import quantize_

    plain = plain.to(device)
    quantize_(plain, config.get_apply_tensor_subclass())
    return plain


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU (torch sees no GPU)"
