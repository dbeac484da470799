"""A whole model onto its grids, decoder layer by decoder layer.

GPTQ needs each layer's inputs. They come from the layers before it as already quantized, so that a layer also makes up
for their errors; only one layer's Hessians are in memory at a time.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from forgeline.core.errors import ParamsError
from forgeline.core.progress import progress
from forgeline.model.traits import cache_argument
from forgeline.quantization.gptq import quantize_gptq
from forgeline.quantization.grid import DTYPES, QuantizedWeight
from forgeline.quantization.rtn import quantize_rtn
from forgeline.quantization.spec import QuantizationSpec

_WINDOWS_PER_BATCH = 16


class _Captured(Exception):
    """The first layer's inputs are there: the rest of the forward pass is not needed."""


def quantize_model(
    model: PreTrainedModel, spec: QuantizationSpec, calibration: torch.Tensor | None
) -> dict[str, QuantizedWeight]:
    """Quantizes every linear layer of the decoder; embeddings, norms and head only take the spec's `head_dtype`.

    The model is changed in place: its float32 weights become what the quantized ones stand for.

    Args:
        model: A decoder-only model in float32 whose decoder has `layers`.
        spec: What to make of it.
        calibration: Token ids [windows, T] for `gptq`, else None.

    Returns:
        The quantized weight of each layer by its name.

    Raises:
        ParamsError: The group size does not divide a layer's input size, or the architecture cannot be quantized.
    """
    names = {module: name for name, module in model.named_modules()}
    layers = _decoder_layers(model)
    linears = [[module for module in layer.modules() if isinstance(module, nn.Linear)] for layer in layers]
    for module in [module for group in linears for module in group]:
        _require_divisible(names[module], module, spec)
    quantized: dict[str, QuantizedWeight] = {}
    with torch.no_grad(), progress(spec.tag, len(layers), "layers") as bar:
        inputs = [] if calibration is None else _first_inputs(model, layers[0], calibration)
        for layer, modules in zip(layers, linears, strict=True):
            for module, weight in zip(modules, _quantize_layer(layer, modules, inputs, spec), strict=True):
                quantized[names[module]] = weight
                module.weight.copy_(weight.dequantize())
            inputs = [(_output(layer, hidden, kwargs), kwargs) for hidden, kwargs in inputs]
            bar()
        _round_the_rest(model, {f"{name}.weight" for name in quantized}, spec)
    return quantized


def _quantize_layer(
    layer: nn.Module, modules: Sequence[nn.Linear], inputs: Sequence[tuple[torch.Tensor, Any]], spec: QuantizationSpec
) -> list[QuantizedWeight]:
    if spec.method == "rtn":
        return [quantize_rtn(module.weight, spec) for module in modules]
    with _hessians(modules) as hessians:
        for hidden, kwargs in inputs:
            _output(layer, hidden, kwargs)
    return [quantize_gptq(module.weight, hessian, spec) for module, hessian in zip(modules, hessians, strict=True)]


@contextmanager
def _hessians(modules: Sequence[nn.Linear]) -> Iterator[list[torch.Tensor]]:
    """X^T X [I, I] of the inputs that each module sees while the block runs."""
    sums = [torch.zeros(m.in_features, m.in_features, dtype=torch.float64, device=m.weight.device) for m in modules]

    def watch(total: torch.Tensor, module: nn.Linear) -> Any:
        def add(_module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            rows = arguments[0].reshape(-1, module.in_features).float()
            total.add_(rows.T @ rows)

        return module.register_forward_pre_hook(add)

    handles = [watch(total, module) for total, module in zip(sums, modules, strict=True)]
    try:
        yield sums
    finally:
        for handle in handles:
            handle.remove()


def _first_inputs(
    model: PreTrainedModel, first: nn.Module, calibration: torch.Tensor
) -> list[tuple[torch.Tensor, Any]]:
    """Hidden states and keyword arguments that reach the first decoder layer, batch by batch."""
    captured: list[tuple[torch.Tensor, Any]] = []

    def capture(_module: nn.Module, arguments: tuple[torch.Tensor, ...], kwargs: dict[str, Any]) -> None:
        captured.append((arguments[0], kwargs))
        raise _Captured

    handle = first.register_forward_pre_hook(capture, with_kwargs=True)
    try:
        for batch in torch.split(calibration.to(model.device), _WINDOWS_PER_BATCH):
            with suppress(_Captured):
                model(input_ids=batch, use_cache=False)
    finally:
        handle.remove()
    return captured


def _output(layer: nn.Module, hidden: torch.Tensor, kwargs: dict[str, Any]) -> torch.Tensor:
    output = layer(hidden, **kwargs)
    states: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return states


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


def _require_divisible(name: str, module: nn.Linear, spec: QuantizationSpec) -> None:
    if module.in_features % spec.group_size:
        raise ParamsError(
            f"params.yaml: quantize: group_size {spec.group_size} does not divide the input size {module.in_features} "
            f"of layer {name}: choose a divisor such as {_largest_divisor(module.in_features, spec.group_size)}"
        )


def _largest_divisor(size: int, limit: int) -> int:
    return max(divisor for divisor in range(1, limit + 1) if size % divisor == 0)
