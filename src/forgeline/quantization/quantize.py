"""A whole model onto its grids, decoder layer by decoder layer.

Methods that look at activations get each layer's inputs from the layers before it. GPTQ takes them from those as
already quantized, so that a layer also makes up for their errors; AWQ and SmoothQuant, as in their papers, from the
original ones. Only one layer's statistics are in memory at a time.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.progress import progress
from forgeline.model.traits import cache_argument
from forgeline.quantization.activations import InputStatistics, first_inputs, observe, run_layer
from forgeline.quantization.awq import clip_weights, search_scale
from forgeline.quantization.gptq import quantize_gptq
from forgeline.quantization.grid import DTYPES, QuantizedWeight
from forgeline.quantization.hqq import quantize_hqq
from forgeline.quantization.rtn import quantize_rtn
from forgeline.quantization.smoothing import fold, linear_groups, norm_groups, require_known_family
from forgeline.quantization.smoothquant import smoothing_scale
from forgeline.quantization.spec import QuantizationSpec

SMOOTHING = ("awq", "smoothquant")


def quantize_model(
    model: PreTrainedModel, spec: QuantizationSpec, calibration: torch.Tensor | None
) -> dict[str, QuantizedWeight]:
    """Quantizes every linear layer of the decoder; embeddings, norms and head only take the spec's `head_dtype`.

    The model is changed in place: its float32 weights become what the quantized ones stand for.

    Args:
        model: A decoder-only model in float32 whose decoder has `layers`.
        spec: What to make of it; its method is one of ours.
        calibration: Token ids [windows, T] for `gptq`, `awq` and `smoothquant`, else None.

    Returns:
        The quantized weight of each layer by its name.

    Raises:
        ParamsError: The group size does not divide a layer's input size, or the architecture cannot be quantized.
        DataError: The model computes NaN or infinity on the calibration windows.
    """
    names = {module: name for name, module in model.named_modules()}
    layers = _decoder_layers(model)
    if spec.method in SMOOTHING:
        require_known_family(model, spec.method)
    require_divisible(model, spec)
    linears = [[module for module in layer.modules() if isinstance(module, nn.Linear)] for layer in layers]
    quantized: dict[str, QuantizedWeight] = {}
    with torch.no_grad(), progress(spec.tag, len(layers), "layers") as bar:
        inputs = [] if calibration is None else first_inputs(model, layers[0], calibration)
        for layer, modules in zip(layers, linears, strict=True):
            statistics, outputs = observe(layer, modules, inputs) if inputs else ({}, [])
            _require_finite(statistics, names)
            for module, weight in zip(modules, _quantize_layer(layer, modules, statistics, spec), strict=True):
                quantized[names[module]] = weight
                module.weight.copy_(weight.dequantize())
            inputs = outputs if spec.method in SMOOTHING else run_layer(layer, inputs)
            bar()
        _round_the_rest(model, {f"{name}.weight" for name in quantized}, spec)
    return quantized


def decoder_linears(model: PreTrainedModel) -> list[tuple[str, nn.Linear]]:
    """The linear layers that are quantized, with their names.

    Raises:
        ParamsError: The architecture cannot be quantized.
    """
    names = {module: name for name, module in model.named_modules()}
    modules = [module for layer in _decoder_layers(model) for module in layer.modules()]
    return [(names[module], module) for module in modules if isinstance(module, nn.Linear)]


def _quantize_layer(
    layer: nn.Module,
    modules: Sequence[nn.Linear],
    statistics: Mapping[nn.Linear, InputStatistics],
    spec: QuantizationSpec,
) -> list[QuantizedWeight]:
    if spec.method == "gptq":
        return [quantize_gptq(module.weight, statistics[module].gram, spec) for module in modules]
    if spec.method == "hqq":
        return [quantize_hqq(module.weight, spec) for module in modules]
    if spec.method == "awq":
        _scale_and_clip(layer, dict(statistics), spec)
    if spec.method == "smoothquant":
        _smooth(layer, statistics, spec)
    return [quantize_rtn(module.weight, spec) for module in modules]


def _scale_and_clip(
    layer: Any, statistics: dict[nn.Linear, InputStatistics], spec: QuantizationSpec
) -> None:  # fmt: skip
    """AWQ's two searches, in place. Queries and keys are not clipped, as in the authors' code."""
    for group in (*norm_groups(layer), *linear_groups(layer)):
        scale = search_scale([reader.weight for reader in group.readers], statistics[group.readers[0]], spec)
        fold(group, scale)
        for reader in group.readers:
            statistics[reader] = statistics[reader].divided(scale)
    for module, seen in statistics.items():
        if module not in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            module.weight.copy_(clip_weights(module.weight, seen, spec))


def _smooth(layer: Any, statistics: Mapping[nn.Linear, InputStatistics], spec: QuantizationSpec) -> None:
    assert spec.alpha is not None
    for group in norm_groups(layer):
        weights = [reader.weight for reader in group.readers]
        fold(group, smoothing_scale(weights, statistics[group.readers[0]].largest, spec.alpha))


def _round_the_rest(model: PreTrainedModel, quantized: set[str], spec: QuantizationSpec) -> None:
    for name, parameter in model.named_parameters():
        if name not in quantized:
            parameter.copy_(parameter.to(DTYPES[spec.head_dtype]).to(parameter.dtype))


def _decoder_layers(model: PreTrainedModel) -> list[nn.Module]:
    layers = getattr(model.get_decoder(), "layers", None)
    if layers is None or cache_argument(model) != "past_key_values":  # GPT-2, Mamba
        raise ParamsError(
            f"quantize: a {model.config.model_type} model cannot be quantized here; docs/models.md names those that "
            "can: take the quantized models out of evaluate.models, benchmark.models and register.models in params.yaml"
        )
    return list(layers)


def _require_finite(statistics: Mapping[nn.Linear, InputStatistics], names: Mapping[nn.Module, str]) -> None:
    for module, seen in statistics.items():
        if not bool(seen.total.isfinite().all()):
            raise DataError(
                f"the inputs of layer {names[module]} are not numbers on the calibration windows: the model's weights "
                "are corrupt or its training diverged"
            )


def require_divisible(model: PreTrainedModel, spec: QuantizationSpec) -> None:
    """Refuses a group size that does not divide the input size of every quantized layer.

    Raises:
        ParamsError: There is such a layer; the message names it.
    """
    for name, module in decoder_linears(model):
        size = spec.group_size or 1
        if module.in_features % size:
            raise ParamsError(
                f"params.yaml: quantize: group_size {size} of {spec.method} does not divide the input size "
                f"{module.in_features} of layer {name}: choose a divisor such as "
                f"{_largest_divisor(module.in_features, size)}, or a method without groups where the size is fixed"
            )


def _largest_divisor(size: int, limit: int) -> int:
    return max(divisor for divisor in range(1, limit + 1) if size % divisor == 0)
