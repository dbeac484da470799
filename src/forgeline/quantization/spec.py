"""What a quantized model is, and its tag: `GPTQ_w4_g128_headbf16`."""

import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

from forgeline.quantization.params import (
    BitsAndBytesInt8Params,
    BitsAndBytesNf4Params,
    HeadDtype,
    LibraryMethod,
    OwnMethod,
    SmoothQuantParams,
    TorchaoInt4Params,
    TorchaoInt8Params,
)

Method = Literal[
    "rtn",
    "gptq",
    "awq",
    "hqq",
    "smoothquant",
    "bitsandbytes_int8",
    "bitsandbytes_nf4",
    "torchao_int8",
    "torchao_int4",
]
METHODS: tuple[Method, ...] = get_args(Method)
CALIBRATION_DIGITS = 12  # of the SHA-256 of the calibration windows that stand in a tag

_NUMBER = r"[1-9]\d*"
_TAG = re.compile(
    rf"(?P<method>[A-Z0-9-]+)_w(?P<bits>{_NUMBER})(?:_a(?P<activation_bits>{_NUMBER}))?(?:_kv(?P<kv_bits>{_NUMBER}))?"
    rf"(?:_g(?P<group_size>{_NUMBER}))?(?P<asymmetric>_asym)?_head(?P<head_dtype>bf16|fp16|fp32)"
    rf"(?:_alpha(?P<alpha>\d[\d.e+-]*))?(?:_cal(?P<calibration>[0-9a-f]{{{CALIBRATION_DIGITS}}}))?"
    r"(?:_seed(?P<seed>0|[1-9]\d*))?"
)


@dataclass(frozen=True)
class QuantizationSpec:
    """How a model's weights, and perhaps its activations, are quantized.

    Attributes:
        method: How the codes were found.
        bits: Of a weight.
        head_dtype: Type of scales and of everything unquantized: embeddings, norms, head.
        group_size: Consecutive input features that share a scale; None where a whole row does.
        symmetric: Whether there are scales only, no zero points.
        activation_bits: Of the inputs of linear layers, with a scale for each token; None leaves them as they are.
        kv_bits: Of cached keys and values; None leaves them as they are.
        alpha: Migration strength of SmoothQuant.
        calibration: First hex digits of the SHA-256 of the calibration windows, None without calibration.
        seed: Of the choice of those windows.
    """

    method: Method
    bits: int
    head_dtype: HeadDtype
    group_size: int | None = None
    symmetric: bool = True
    activation_bits: int | None = None
    kv_bits: int | None = None
    alpha: float | None = None
    calibration: str | None = None
    seed: int | None = None

    @property
    def tag(self) -> str:
        """The spec in one word, without what is None; `parse` turns it back."""
        optional = {"a": self.activation_bits, "kv": self.kv_bits, "g": self.group_size}
        parts = [self.method.upper().replace("_", "-"), f"w{self.bits}"]
        parts += [f"{letter}{value}" for letter, value in optional.items() if value is not None]
        parts += [] if self.symmetric else ["asym"]
        parts.append(f"head{self.head_dtype}")
        origin = {"alpha": self.alpha, "cal": self.calibration, "seed": self.seed}
        parts += [f"{word}{value}" for word, value in origin.items() if value is not None]
        return "_".join(parts)

    @property
    def code_range(self) -> tuple[int, int]:
        """Smallest and largest code."""
        return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1


def parse(tag: str) -> QuantizationSpec:
    """The spec with this tag.

    Raises:
        ValueError: It is not a tag, or its method is unknown.
    """
    match = _TAG.fullmatch(tag)
    if match is None:
        raise ValueError(f"'{tag}' is not a quantization tag such as GPTQ_w4_g128_headbf16 or RTN_w8_g64_asym_headfp32")
    found = match.groupdict()
    method = str(found["method"]).lower().replace("-", "_")
    if method not in METHODS:
        raise ValueError(f"'{tag}' is of an unknown method '{method}': choose one of {', '.join(METHODS)}")
    return QuantizationSpec(
        method=method,
        bits=int(found["bits"]),
        head_dtype=cast("HeadDtype", found["head_dtype"]),
        group_size=_whole(found["group_size"]),
        symmetric=found["asymmetric"] is None,
        activation_bits=_whole(found["activation_bits"]),
        kv_bits=_whole(found["kv_bits"]),
        alpha=None if found["alpha"] is None else float(found["alpha"]),
        calibration=found["calibration"],
        seed=_whole(found["seed"]),
    )


def spec_of(params: OwnMethod | LibraryMethod, calibration_sha256: str | None) -> QuantizationSpec:
    """The spec that a params section asks for.

    Args:
        params: Of one method.
        calibration_sha256: Of its calibration windows; None where it takes none.
    """
    calibration = None if calibration_sha256 is None else calibration_sha256[:CALIBRATION_DIGITS]
    seed = None if calibration is None else params.seed
    if isinstance(params, SmoothQuantParams):
        return QuantizationSpec(
            params.method, 8, params.head_dtype, activation_bits=8, kv_bits=params.kv_bits, alpha=params.alpha,
            calibration=calibration, seed=seed,
        )  # fmt: skip
    if isinstance(params, BitsAndBytesInt8Params):
        return QuantizationSpec(params.method, 8, params.head_dtype, activation_bits=8)
    if isinstance(params, BitsAndBytesNf4Params):
        return QuantizationSpec(params.method, 4, params.head_dtype, group_size=64)
    if isinstance(params, TorchaoInt8Params):
        return QuantizationSpec(params.method, 8, params.head_dtype)
    if isinstance(params, TorchaoInt4Params):
        return QuantizationSpec(params.method, 4, params.head_dtype, params.group_size, symmetric=False)
    return QuantizationSpec(
        params.method, params.bits, params.head_dtype, params.group_size, params.symmetric, kv_bits=params.kv_bits,
        calibration=calibration, seed=seed,
    )  # fmt: skip


def _whole(digits: str | None) -> int | None:
    return None if digits is None else int(digits)
