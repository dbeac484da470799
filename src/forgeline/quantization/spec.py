"""What a quantized model is, and its tag: `GPTQ_w4_g128_headbf16`."""

import re
from dataclasses import dataclass
from typing import Literal, cast

from forgeline.quantization.params import QuantizeParams

_TAG = re.compile(r"(RTN|GPTQ)_w([1-9]\d*)_g([1-9]\d*)(_asym)?_head(bf16|fp32)")


@dataclass(frozen=True)
class QuantizationSpec:
    """How weights are stored.

    Attributes:
        method: How the codes were found.
        bits: Of a code.
        group_size: Consecutive input features that share a scale.
        symmetric: Whether there are scales only, no zero points.
        head_dtype: Type of scales and of everything unquantized: embeddings, norms, head.
    """

    method: Literal["rtn", "gptq"]
    bits: int
    group_size: int
    symmetric: bool
    head_dtype: Literal["bf16", "fp32"]

    @property
    def tag(self) -> str:
        """The spec in one word; `parse` turns it back."""
        kind = "" if self.symmetric else "_asym"
        return f"{self.method.upper()}_w{self.bits}_g{self.group_size}{kind}_head{self.head_dtype}"

    @property
    def code_range(self) -> tuple[int, int]:
        """Smallest and largest code."""
        return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1


def parse(tag: str) -> QuantizationSpec:
    """The spec with this tag.

    Raises:
        ValueError: It is not a tag.
    """
    match = _TAG.fullmatch(tag)
    if match is None:
        raise ValueError(f"'{tag}' is not a quantization tag such as GPTQ_w4_g128_headbf16 or RTN_w8_g64_asym_headfp32")
    method, bits, group_size, asymmetric, head_dtype = match.groups()
    return QuantizationSpec(
        cast("Literal['rtn', 'gptq']", method.lower()),
        int(bits),
        int(group_size),
        asymmetric is None,
        cast("Literal['bf16', 'fp32']", head_dtype),
    )


def spec_of(params: QuantizeParams) -> QuantizationSpec:
    """The spec that a params section asks for."""
    return QuantizationSpec(params.method, params.bits, params.group_size, params.symmetric, params.head_dtype)
