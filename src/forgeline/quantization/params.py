"""Parameters of one `quantize@<name>` stage (section `quantize.<name>`)."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from forgeline.core.params import Section


class QuantizeParams(Section):
    """One way to quantize, and how much it may cost.

    Attributes:
        method: `rtn` (round to nearest) or `gptq` (error compensation from calibration activations).
        bits: Of a weight.
        group_size: Consecutive input features that share a scale; must divide every layer's input size.
        symmetric: Scales only, no zero points; must be true until transformers can load packed zero points.
        head_dtype: How scales and everything that stays unquantized (embeddings, norms, head) are stored.
        calibration_windows: Training windows behind the activations; 0 for `rtn`.
        gate_windows: Most validation windows on which bits per byte are measured before and after, a seeded choice.
        seed: Of the choice of windows.
        max_bits_per_byte_increase: The stage fails when quantizing costs more.
    """

    method: Literal["rtn", "gptq"]
    bits: Literal[4, 8]
    group_size: PositiveInt
    symmetric: bool
    head_dtype: Literal["bf16", "fp32"]
    calibration_windows: NonNegativeInt
    gate_windows: PositiveInt
    seed: Annotated[int, Field(ge=0)]
    max_bits_per_byte_increase: NonNegativeFloat

    @model_validator(mode="after")
    def _fits_together(self) -> "QuantizeParams":
        if self.method == "gptq" and self.calibration_windows == 0:
            raise ValueError("method gptq needs calibration: set calibration_windows above 0 (64 is usual)")
        if self.method == "rtn" and self.calibration_windows > 0:
            raise ValueError("method rtn uses no calibration: set calibration_windows to 0")
        if not self.symmetric:
            raise ValueError(
                "symmetric must be true: transformers 5.23 with compressed-tensors 0.20 cannot load the packed zero "
                "points of an asymmetric model"
            )
        return self
