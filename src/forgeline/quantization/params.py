"""Parameters of one `quantize@<name>` stage (section `quantize.<name>`): a choice by `method`, each with its own knobs.

What the methods are and when to take which stands in docs/quantization.md.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt, RootModel, model_validator

from forgeline.core.params import Section

HeadDtype = Literal["bf16", "fp16", "fp32"]
Bits = Literal[4, 8]
GroupSize = PositiveInt | None


class GateParams(Section):
    """How much quantizing may cost; the stage fails when it costs more.

    Attributes:
        windows: Most validation windows on which bits per byte are measured before and after, a seeded choice.
        max_bits_per_byte_increase: Largest increase there; perplexity grows by 2^(increase x bytes per token).
        questions: Most validation questions with a boxed answer that are answered before and after; 0 asks none.
        max_new_tokens: Of an answer.
        max_accuracy_drop: Largest drop of the share of right answers.
        max_format_rate_drop: Largest drop of the share of answers that can be read.
    """

    windows: PositiveInt
    max_bits_per_byte_increase: NonNegativeFloat
    questions: NonNegativeInt
    max_new_tokens: PositiveInt
    max_accuracy_drop: Annotated[float, Field(ge=0, le=1)]
    max_format_rate_drop: Annotated[float, Field(ge=0, le=1)]


class _Common(Section):
    """What every method has.

    Attributes:
        model: Which model folder of `models` is quantized.
        head_dtype: How scales and everything that stays unquantized (embeddings, norms, head) are stored.
        seed: Of the choice of windows and questions.
        gate: How much it may cost.
    """

    model: str
    head_dtype: HeadDtype
    seed: Annotated[int, Field(ge=0)]
    gate: GateParams


class _Own(_Common):
    """Of methods that are ours.

    Attributes:
        kv_bits: Of keys and values, with a scale for each head and forward pass; null leaves them as they are.
    """

    kv_bits: Literal[8] | None


class _Grid(_Own):
    """Weights on a uniform grid.

    Attributes:
        bits: Of a weight.
        group_size: Consecutive input features that share a scale, a divisor of every layer's input size; null gives
            every output row one scale.
        symmetric: Scales only; false adds a zero point to every group.
    """

    bits: Bits
    group_size: GroupSize
    symmetric: bool

    @model_validator(mode="after")
    def _fits_together(self) -> "_Grid":
        if self.kv_bits is not None and not self.symmetric:
            raise ValueError(
                "kv_bits needs symmetric: true: transformers dequantizes asymmetric weights while it loads, and then "
                "leaves keys and values alone"
            )
        return self


class RtnParams(_Grid):
    """Round to nearest: no data, no search."""

    method: Literal["rtn"]


class GptqParams(_Grid):
    """GPTQ (Frantar et al. 2023): later columns make up for the rounding of earlier ones.

    Attributes:
        calibration_windows: Training windows behind the activations.
    """

    method: Literal["gptq"]
    calibration_windows: PositiveInt


class AwqParams(_Grid):
    """AWQ (Lin et al. 2024): channels that matter are scaled up before rounding.

    Attributes:
        calibration_windows: Training windows behind the activations.
    """

    method: Literal["awq"]
    calibration_windows: PositiveInt


class HqqParams(_Grid):
    """HQQ (Badri & Shaji 2023): scales and zero points that make large errors few; no data."""

    method: Literal["hqq"]


class SmoothQuantParams(_Own):
    """SmoothQuant (Xiao et al. 2023): 8-bit weights and activations, outliers moved from activations to weights.

    Attributes:
        alpha: How much of the outliers moves, 0 none, 1 all; the paper takes 0.5.
        calibration_windows: Training windows behind the largest activations.
    """

    method: Literal["smoothquant"]
    alpha: Annotated[float, Field(ge=0, le=1)]
    calibration_windows: PositiveInt


class BitsAndBytesInt8Params(_Common):
    """LLM.int8() (Dettmers et al. 2022) of bitsandbytes: 8-bit weights and activations, outlier features in 16 bits."""

    method: Literal["bitsandbytes_int8"]


class BitsAndBytesNf4Params(_Common):
    """NF4 of bitsandbytes (Dettmers et al. 2023): 4 bits at the quantiles of a normal distribution, blocks of 64."""

    method: Literal["bitsandbytes_nf4"]


class TorchaoInt8Params(_Common):
    """Weight-only int8 of torchao, one scale for each output row."""

    method: Literal["torchao_int8"]


class TorchaoInt4Params(_Common):
    """Weight-only int4 of torchao; its kernels need a GPU.

    Attributes:
        group_size: Input features that share a scale and a zero point.
    """

    method: Literal["torchao_int4"]
    group_size: Literal[32, 64, 128, 256]


GridMethod = RtnParams | GptqParams | AwqParams | HqqParams
OwnMethod = GridMethod | SmoothQuantParams
LibraryMethod = BitsAndBytesInt8Params | BitsAndBytesNf4Params | TorchaoInt8Params | TorchaoInt4Params
Calibrated = GptqParams | AwqParams | SmoothQuantParams


class QuantizeParams(RootModel[Annotated[OwnMethod | LibraryMethod, Field(discriminator="method")]]):
    """Section `quantize.<name>`: one of the methods, in `root`."""

    model_config = ConfigDict(frozen=True, strict=True)
