"""From a model to a quantized folder: calibrate, quantize, save, load back, measure, judge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from forgeline.core.records import Conversation
from forgeline.core.run import Counts
from forgeline.model.loading import load_model
from forgeline.packing.dataset import TokenDataset
from forgeline.quantization.compressed import save_quantized
from forgeline.quantization.gate import (
    Question,
    answer_rates,
    bits_per_byte,
    boxed_questions,
    choose_windows,
    require_small_drop,
    require_small_increase,
    windows_sha256,
)
from forgeline.quantization.libraries import quantize_with_library
from forgeline.quantization.params import Calibrated, LibraryMethod, OwnMethod
from forgeline.quantization.quantize import decoder_linears, quantize_model, require_divisible
from forgeline.quantization.spec import QuantizationSpec, spec_of
from forgeline.tokenization.loading import load_tokenizer


@dataclass(frozen=True)
class Quantization:
    """What came of it: tensors in and out, and the figures of the metrics file."""

    counts: Counts
    figures: dict[str, Any]


@dataclass(frozen=True)
class Yardstick:
    """What a model is measured on before and after: windows [n, T + 1] of validation text, and questions."""

    windows: torch.Tensor
    bytes_per_token: float
    questions: list[Question]
    max_new_tokens: int

    def measure(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
        """`bits_per_byte` and, if there are questions, `accuracy` and `format_rate`."""
        figures = {"bits_per_byte": bits_per_byte(model, self.windows, self.bytes_per_token)}
        if self.questions:
            figures |= answer_rates(model, tokenizer, self.questions, self.max_new_tokens)
        return figures


def quantize_and_save(
    source: Path,
    device: torch.device,
    train: TokenDataset,
    validation: TokenDataset,
    conversations: Sequence[Conversation],
    params: OwnMethod | LibraryMethod,
    name: str,
    folder: Path,
) -> Quantization:
    """Writes the quantized model and measures it as loaded back from its folder.

    Args:
        source: Model folder with plain weights.
        device: Where to compute.
        train: Where calibration windows come from.
        validation: Where the cost is measured.
        conversations: Validation conversations, for the gate's questions.
        params: Section `quantize.<name>`.
        name: Of the section, for messages.
        folder: Where the model goes.

    Raises:
        ParamsError: The group size does not divide a layer, there are fewer windows than asked for, or the method does
            not run here.
        DataError: The cost is above what `params.gate` allows.
    """
    tokenizer, model = load_tokenizer(source), load_model(source, device)
    yardstick = _yardstick(validation, conversations, params, name)
    calibration = None
    if isinstance(params, Calibrated):
        knob = f"quantize.{name}.calibration_windows"
        calibration = choose_windows(train, params.calibration_windows, params.seed, knob)[:, :-1]
    digest = None if calibration is None else windows_sha256(calibration)
    spec = spec_of(params, digest)
    before = yardstick.measure(model, tokenizer)
    counts, linears = _count(model), {name: module.weight.numel() for name, module in decoder_linears(model)}
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    _write(model, source, tokenizer, spec, calibration, isinstance(params, LibraryMethod), folder)
    del model
    after = yardstick.measure(load_model(folder, device), tokenizer)
    figures = {
        "tag": spec.tag,
        "model": source.name,
        "num_quantized_layers": len(linears),
        "num_quantized_weights": sum(linears.values()),
        "num_parameters": num_parameters,
        **stored_figures(folder, linears, num_parameters),
        **_judge(before, after, params, name),
        "num_gate_windows": len(yardstick.windows),
        "num_gate_questions": len(yardstick.questions),
        "calibration_sha256": digest,
    }
    return Quantization(counts, figures)


def stored_figures(folder: Path, linears: Mapping[str, int], num_parameters: int) -> dict[str, float]:
    """Size of a folder's weights, and bits per weight as stored: of quantized ones with all that decodes them, of all.

    Args:
        folder: Of the quantized model.
        linears: Number of weights of each quantized layer, by name.
        num_parameters: Of the model before.
    """
    bits = {"quantized": 0, "all": 0}
    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        with safe_open(file, framework="pt") as stored:
            for key in stored.keys():  # noqa: SIM118  # not a mapping
                tensor = stored.get_tensor(key)
                size = 8 * tensor.numel() * tensor.element_size()
                bits["all"] += size
                if not key.endswith(".bias") and _belongs_to_any(key, linears):
                    bits["quantized"] += size
    return {
        "bits_per_quantized_weight": bits["quantized"] / sum(linears.values()),
        "bits_per_weight": bits["all"] / num_parameters,
        "size_bytes": sum(file.stat().st_size for file in files),
    }


def _belongs_to_any(key: str, linears: Mapping[str, int]) -> bool:
    """Whether a stored tensor is of one of the layers, as `a.b.weight_packed` and `a.b.weight.absmax` are of `a.b`."""
    parts = key.split(".")
    return any(".".join(parts[:end]) in linears for end in range(1, len(parts)))


def _yardstick(
    validation: TokenDataset, conversations: Sequence[Conversation], params: OwnMethod | LibraryMethod, name: str
) -> Yardstick:
    num_windows = min(params.gate.windows, max(len(validation), 1))
    return Yardstick(
        choose_windows(validation, num_windows, params.seed, f"quantize.{name}.gate.windows"),
        validation.bytes_per_token,
        boxed_questions(conversations, params, name),
        params.gate.max_new_tokens,
    )


def _write(
    model: PreTrainedModel,
    source: Path,
    tokenizer: PreTrainedTokenizerBase,
    spec: QuantizationSpec,
    calibration: torch.Tensor | None,
    by_library: bool,
    folder: Path,
) -> None:
    if by_library:
        require_divisible(model, spec)
        quantize_with_library(source, spec, model.device, folder)
        tokenizer.save_pretrained(folder)
    else:
        save_quantized(model, quantize_model(model, spec, calibration), spec, tokenizer, folder)


def _count(model: PreTrainedModel) -> Counts:
    tensors = list(model.state_dict().values())
    num_distinct = len({tensor.data_ptr() for tensor in tensors})
    return Counts(len(tensors), num_distinct, {"tied_to_another": len(tensors) - num_distinct})


def _judge(
    before: dict[str, float], after: dict[str, float], params: OwnMethod | LibraryMethod, name: str
) -> dict[str, Any]:
    gate, kind = params.gate, "bits_per_byte"
    increase = require_small_increase(before[kind], after[kind], gate.max_bits_per_byte_increase, name)
    figures: dict[str, Any] = {
        "validation_bits_per_byte": {"before": before[kind], "after": after[kind], "increase": increase}
    }
    limits = {"accuracy": gate.max_accuracy_drop, "format_rate": gate.max_format_rate_drop}
    shares: tuple[Literal["accuracy", "format_rate"], ...] = ("accuracy", "format_rate")
    for share in shares:
        measured = None
        if share in before:
            drop = require_small_drop(share, before[share], after[share], limits[share], name)
            measured = {"before": before[share], "after": after[share], "drop": drop}
        figures[f"validation_{share}"] = measured
    return figures
