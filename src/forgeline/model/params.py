"""Parameters of the architecture, a choice by `kind`, and of computing with torch."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, RootModel, model_validator

from forgeline.core.params import Section

Probability = Annotated[float, Field(ge=0, lt=1)]
GATED = ("swiglu", "geglu", "reglu")  # Shazeer 2020: a third matrix, whose activated output gates the second's


class ComputeParams(Section):
    """What changes the bytes wherever torch computes.

    Attributes:
        num_threads: CPU threads; a matrix product split over another number of threads may round differently.
        precision: `bf16` multiplies in bfloat16 under autocast and keeps weights and optimizer in float32; `fp16`, for
            GPUs without bfloat16, multiplies in float16 and scales the loss.
    """

    num_threads: int = Field(ge=1)
    precision: Literal["bf16", "fp16", "fp32"]


class _Transformer(Section):
    """What all decoder-only transformers have, in the names of `transformers.LlamaConfig`.

    Attributes:
        hidden_size: Width of the residual stream.
        intermediate_size: Width inside the feed-forward layers.
        num_hidden_layers: Decoder layers.
        num_attention_heads: Query heads; the head size is `hidden_size` divided by their number.
        num_key_value_heads: Key and value heads: as many as query heads is multi-head attention, 1 multi-query
            (Shazeer 2019), anything between grouped-query attention (Ainslie et al. 2023).
        max_position_embeddings: Longest sequence in tokens.
        attention_dropout: Share of the attention weights that is dropped in training.
        initializer_range: Standard deviation of new weights.
        tie_word_embeddings: Whether the output head is the input embedding.
    """

    hidden_size: int = Field(ge=8)
    intermediate_size: int = Field(ge=8)
    num_hidden_layers: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    num_key_value_heads: int = Field(ge=1)
    max_position_embeddings: int = Field(ge=8)
    attention_dropout: Probability
    initializer_range: float = Field(gt=0)
    tie_word_embeddings: bool

    @model_validator(mode="after")
    def _heads_divide(self) -> "_Transformer":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}: "
                "change one of them"
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of num_key_value_heads "
                f"{self.num_key_value_heads}: change one of them"
            )
        if self.is_rotary and self.head_size % 2:
            raise ValueError(
                f"rotary positions need an even head size, got hidden_size {self.hidden_size} / num_attention_heads "
                f"{self.num_attention_heads} = {self.head_size}: change one of them"
            )
        return self

    @property
    def head_size(self) -> int:
        """Entries of a query, key or value."""
        return self.hidden_size // self.num_attention_heads

    @property
    def is_rotary(self) -> bool:
        """Whether queries and keys are rotated by their position."""
        return True


class LlamaParams(_Transformer):
    """A Llama (Touvron et al. 2023): rotary positions, RMS norm before each sub-layer, SwiGLU, no biases.

    Attributes:
        rope_theta: Base of the rotary wavelengths.
        rms_norm_eps: Added to the mean square under the root of the norm.
    """

    kind: Literal["llama"]
    rope_theta: float = Field(gt=0)
    rms_norm_eps: float = Field(gt=0)


class RopeParams(Section):
    """Rotary positions (Su et al. 2021): queries and keys are rotated by angles proportional to their position.

    Attributes:
        theta: Base of the wavelengths.
    """

    name: Literal["rope"]
    theta: float = Field(gt=1)


class YarnParams(Section):
    """YaRN (Peng et al. 2023, arXiv 2309.00071): rotary positions stretched to a longer context.

    Attributes:
        theta: Base of the wavelengths.
        factor: How many times longer the context becomes (s in the paper).
        original_max_position_embeddings: The context before (L in the paper).
        beta_fast: A pair that turns more often than this within the original context keeps its frequency.
        beta_slow: One that turns less often has its frequency divided by `factor`; between the two is a linear ramp.
        attention_factor: What queries and keys are multiplied by, the root of the paper's 1/t; null takes
            0.1 ln(factor) + 1 (equation 22).
    """

    name: Literal["yarn"]
    theta: float = Field(gt=1)
    factor: float = Field(ge=1)
    original_max_position_embeddings: int = Field(ge=8)
    beta_fast: float = Field(gt=0)
    beta_slow: float = Field(gt=0)
    attention_factor: Annotated[float, Field(gt=0)] | None

    @model_validator(mode="after")
    def _ordered(self) -> "YarnParams":
        if self.beta_fast <= self.beta_slow:
            raise ValueError(f"beta_fast {self.beta_fast:g} must exceed beta_slow {self.beta_slow:g}: raise it")
        return self


class SinusoidalParams(Section):
    """Sines and cosines of the position added to the embeddings, which are scaled up to them (Vaswani et al. 2017)."""

    name: Literal["sinusoidal"]


class LearnedParams(Section):
    """A trained vector for each position, added to the embeddings (as in GPT-2, Radford et al. 2019)."""

    name: Literal["learned"]


class AlibiParams(Section):
    """ALiBi (Press et al. 2022): a penalty on attention that grows linearly with distance; nothing is added."""

    name: Literal["alibi"]


PositionParams = Annotated[
    RopeParams | YarnParams | SinusoidalParams | LearnedParams | AlibiParams, Field(discriminator="name")
]
Activation = Literal["relu", "gelu", "silu", "leaky_relu", "swiglu", "geglu", "reglu"]


class DecoderParams(_Transformer):
    """A pre-norm decoder with a choice at every part; where all choices are Llama's, it is saved as a plain Llama.

    Attributes:
        positions: How the model knows the order of tokens.
        sliding_window: A token attends to itself and the ones before it, so many together; null attends to all.
        attention_bias: Whether the four projections of attention have biases.
        qk_norm: Whether queries and keys are normalized, head by head, before they are rotated (Henry et al. 2020).
        norm: Root-mean-square norm (Zhang & Sennrich 2019) or layer norm (Ba et al. 2016).
        norm_eps: Added to the mean square or variance under the root of the norm.
        activation: Of the feed-forward layers: two matrices with relu, gelu, silu, leaky_relu; three, one of them a
            gate, with swiglu, geglu, reglu (Shazeer 2020).
        mlp_bias: Whether the feed-forward matrices have biases.
        dropout: Share of the embeddings and of each sub-layer's output that is dropped in training.
    """

    kind: Literal["decoder"]
    positions: PositionParams
    sliding_window: Annotated[int, Field(ge=2)] | None
    attention_bias: bool
    qk_norm: bool
    norm: Literal["rmsnorm", "layernorm"]
    norm_eps: float = Field(gt=0)
    activation: Activation
    mlp_bias: bool
    dropout: Probability

    @model_validator(mode="after")
    def _positions_fit(self) -> "DecoderParams":
        positions, longest = self.positions, self.max_position_embeddings
        if isinstance(positions, YarnParams):
            reach = positions.factor * positions.original_max_position_embeddings
            if longest > reach:
                raise ValueError(
                    f"max_position_embeddings {longest} is more than positions.factor {positions.factor:g} x "
                    f"original_max_position_embeddings {positions.original_max_position_embeddings} = {reach:g}: lower "
                    "it or raise positions.factor"
                )
        if isinstance(positions, SinusoidalParams) and self.hidden_size % 2:
            raise ValueError(
                f"sinusoidal positions need an even hidden_size, got {self.hidden_size}: change it or positions.name"
            )
        return self

    @property
    def is_rotary(self) -> bool:
        """Whether queries and keys are rotated by their position."""
        return isinstance(self.positions, RopeParams | YarnParams)

    @property
    def is_gated(self) -> bool:
        """Whether the feed-forward layers have a gate, a third matrix."""
        return self.activation in GATED

    @property
    def is_llama(self) -> bool:
        """Whether `transformers.LlamaForCausalLM` computes the very same."""
        return (
            self.is_rotary
            and self.norm == "rmsnorm"
            and self.activation == "swiglu"
            and self.sliding_window is None
            and not self.qk_norm
            and self.dropout == 0
        )


class TransformersParams(Section):
    """Any causal language model that the transformers library has, built from scratch.

    Attributes:
        model_type: As in the config.json of such models: mixtral, deepseek_v3, mamba2, qwen3, gemma3_text, ...
        overrides: Keys of that family's configuration with their values; what is left out stays at the library's
            default, which is the size of a published model. Vocabulary and special ids come from the tokenizer.
    """

    kind: Literal["transformers"]
    model_type: str = Field(min_length=1)
    overrides: dict[str, Any]

    @model_validator(mode="after")
    def _not_the_tokenizers(self) -> "TransformersParams":
        taken = ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id", "dtype", "model_type")
        given = [key for key in taken if key in self.overrides]
        if given:
            raise ValueError(
                f"overrides may not hold {', '.join(given)}: the tokenizer gives vocabulary and special ids, "
                "compute.precision the type; remove it"
            )
        return self


Architecture = LlamaParams | DecoderParams | TransformersParams


class ModelParams(RootModel[Annotated[Architecture, Field(discriminator="kind")]]):
    """Section `model`: one of the architectures, in `root`."""

    model_config = ConfigDict(frozen=True, strict=True)
