"""The configuration of our decoder, as config.json holds it."""

from dataclasses import field
from typing import Any

from transformers import PreTrainedConfig


class DecoderConfig(PreTrainedConfig):  # type: ignore[misc]  # the library has no type information
    """Choices of a decoder-only transformer; `forgeline.model.params.DecoderParams` says what each one means.

    The values here are what config.json means where it leaves a key out. Training never relies on them: all come from
    params.yaml.

    Attributes:
        positions: `name` of the scheme, with its own keys beside it.
    """

    model_type = "forgeline_decoder"
    keys_to_ignore_at_inference = ("past_key_values",)

    vocab_size: int = 4096
    hidden_size: int = 256
    intermediate_size: int = 1024
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    max_position_embeddings: int = 1024
    positions: dict[str, Any] = field(default_factory=lambda: {"name": "rope", "theta": 10_000.0})
    sliding_window: int | None = None
    attention_bias: bool = False
    attention_dropout: float = 0.0
    qk_norm: bool = False
    norm: str = "rmsnorm"
    norm_eps: float = 1e-5
    activation: str = "swiglu"
    mlp_bias: bool = False
    dropout: float = 0.0
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False
    use_cache: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None

    @property
    def head_size(self) -> int:
        """Entries of a query, key or value."""
        return self.hidden_size // self.num_attention_heads
