"""From a model to a quantized folder: calibrate, quantize, save, load back, measure, judge."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from forgeline.core.run import Counts
from forgeline.model.loading import load_model
from forgeline.packing.dataset import TokenDataset
from forgeline.quantization.compressed import WEIGHTS_FILE, num_bits_of, save_quantized
from forgeline.quantization.gate import bits_per_byte, choose_windows, require_small_increase, windows_sha256
from forgeline.quantization.params import QuantizeParams
from forgeline.quantization.quantize import quantize_model
from forgeline.quantization.spec import spec_of


@dataclass(frozen=True)
class Quantization:
    """What came of it: tensors in and out, and the figures of the metrics file."""

    counts: Counts
    figures: dict[str, Any]


def quantize_and_save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: TokenDataset,
    validation: TokenDataset,
    params: QuantizeParams,
    name: str,
    folder: Path,
) -> Quantization:
    """Writes the quantized model and measures it as loaded back from its folder.

    Args:
        model: Plain weights in float32; changed in place.
        tokenizer: Saved beside the weights.
        train: Where calibration windows come from.
        validation: Where the cost is measured.
        params: Section `quantize.<name>`.
        name: Of the section, for messages.
        folder: Where the model goes.

    Raises:
        ParamsError: The group size does not divide a layer, or there are fewer windows than asked for.
        DataError: The cost is above `params.max_bits_per_byte_increase`.
    """
    spec = spec_of(params)
    num_gate_windows = min(params.gate_windows, len(validation))
    gate = choose_windows(validation, num_gate_windows, params.seed, f"quantize.{name}.gate_windows")
    calibration = None
    if params.calibration_windows:
        knob = f"quantize.{name}.calibration_windows"
        calibration = choose_windows(train, params.calibration_windows, params.seed, knob)[:, :-1]
    names_in = list(model.state_dict())
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    before = bits_per_byte(model, gate, validation.bytes_per_token)
    weights = quantize_model(model, spec, calibration)
    tensors = save_quantized(model, weights, spec, tokenizer, folder)
    after = bits_per_byte(load_model(folder, model.device), gate, validation.bytes_per_token)
    increase = require_small_increase(before, after, params.max_bits_per_byte_increase, name)
    num_weights = sum(weight.codes.numel() for weight in weights.values())
    packed = {key: value for key, value in tensors.items() if ".weight_" in key}
    num_kept = len(weights) + len(tensors) - len(packed)
    return Quantization(
        Counts(len(names_in), num_kept, {"tied_to_another": len(names_in) - num_kept}),
        {
            "tag": spec.tag,
            "num_quantized_layers": len(weights),
            "num_quantized_weights": num_weights,
            "num_parameters": num_parameters,
            "bits_per_quantized_weight": num_bits_of(packed) / num_weights,
            "bits_per_weight": num_bits_of(tensors) / num_parameters,
            "size_bytes": (folder / WEIGHTS_FILE).stat().st_size,
            "validation_bits_per_byte": {"before": before, "after": after, "increase": increase},
            "num_gate_windows": num_gate_windows,
            "calibration_sha256": None if calibration is None else windows_sha256(calibration),
        },
    )
