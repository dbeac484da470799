"""Parameters of the architecture and of computing with torch."""

from typing import Literal

from pydantic import Field, model_validator

from forgeline.core.params import Section


class ComputeParams(Section):
    """What changes the bytes wherever torch computes.

    Attributes:
        num_threads: CPU threads; a matrix product split over another number of threads may round differently.
        precision: `bf16` multiplies in bfloat16 under autocast and keeps weights and optimizer in float32.
    """

    num_threads: int = Field(ge=1)
    precision: Literal["bf16", "fp32"]


class ModelParams(Section):
    """A Llama architecture (Touvron et al. 2023), in the names of `transformers.LlamaConfig`."""

    hidden_size: int = Field(ge=8)
    intermediate_size: int = Field(ge=8)
    num_hidden_layers: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    num_key_value_heads: int = Field(ge=1)
    max_position_embeddings: int = Field(ge=8)
    rope_theta: float = Field(gt=0)
    rms_norm_eps: float = Field(gt=0)
    initializer_range: float = Field(gt=0)
    tie_word_embeddings: bool

    @model_validator(mode="after")
    def _heads_divide(self) -> "ModelParams":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}: "
                "change one of them"
            )
        if (self.hidden_size // self.num_attention_heads) % 2:
            raise ValueError(
                f"rotary positions need an even head size, got hidden_size {self.hidden_size} / num_attention_heads "
                f"{self.num_attention_heads} = {self.hidden_size // self.num_attention_heads}: change one of them"
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of num_key_value_heads "
                f"{self.num_key_value_heads}: change one of them"
            )
        return self
