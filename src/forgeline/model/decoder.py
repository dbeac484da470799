"""Our decoder: a pre-norm transformer from ids to logits in one file, with a choice at every part.

    ids -> embedding (+ position) -> N x [norm -> attention -> +, norm -> feed-forward -> +] -> norm -> head -> logits

Names of modules and weights are Llama's, so equal choices have equal weight files. Importing this module makes
`AutoConfig` and the `AutoModel` classes know `model_type: forgeline_decoder`; config.json names no code.

What attends to what is one mask per forward pass, made by transformers' own functions: causal, with the window,
padding and, where position ids start again and nothing is cached, documents packed into one row. ALiBi adds its penalty
to it. A plain causal mask stays None, which lets torch choose its fastest attention.

Shapes: B batch, T tokens now, S tokens with those in the cache, D hidden size, H query heads, E head size.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Cache,
    DynamicCache,
    GenerationMixin,
    PreTrainedModel,
)
from transformers import initialization as init
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.modeling_layers import GenericForSequenceClassification, GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, slice_logits_to_keep
from transformers.utils import can_return_tuple

from forgeline.model.decoder_config import DecoderConfig
from forgeline.model.params import GATED

Rotation = tuple[Tensor, Tensor]  # cosines and sines, each [B, T, E]

SINUSOID_BASE = 10_000.0  # Vaswani et al. 2017, section 3.5
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "leaky_relu": F.leaky_relu,
    "swiglu": F.silu,
    "geglu": F.gelu,
    "reglu": F.relu,
}


class RMSNorm(nn.Module):
    """x / root mean square(x), times a gain (Zhang & Sennrich 2019, equation 4); the mean is taken in float32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] to the same shape."""
        wide = x.float()
        normal = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * normal.to(x.dtype)


def build_norm(config: DecoderConfig, size: int) -> nn.Module:
    """The norm that the configuration chooses, over vectors of `size`."""
    return RMSNorm(size, config.norm_eps) if config.norm == "rmsnorm" else nn.LayerNorm(size, eps=config.norm_eps)


def rotary_frequencies(config: DecoderConfig, device: torch.device | None = None) -> tuple[Tensor, float]:
    """Angles per position [E / 2] of the rotary pairs, and what cosines and sines are multiplied by.

    `rope`: theta^(-2i / E) for pair i (Su et al. 2021, section 3.2.2).

    `yarn`: NTK-by-parts and attention temperature (Peng et al. 2023, sections 3.2 and 3.3). Pair i turns
    L theta^(-2i / E) / 2 pi times in the original context L: above `beta_fast` turns it keeps its frequency, below
    `beta_slow` the frequency is divided by the factor. Between them the paper's equation is linear in the turns, the
    authors' code, and since then every implementation and checkpoint, in i; so is this one.
    """
    positions, size = config.positions, config.head_size
    pairs = torch.arange(0, size, 2, device=device, dtype=torch.float32) / size
    frequencies = 1.0 / positions["theta"] ** pairs
    if positions["name"] == "rope":
        return frequencies, 1.0
    factor = positions["factor"]
    low = max(math.floor(_pair_of_turns(positions["beta_fast"], config)), 0)
    high = min(math.ceil(_pair_of_turns(positions["beta_slow"], config)), size - 1)
    index = torch.arange(size // 2, device=device, dtype=torch.float32)
    interpolated = ((index - low) / max(high - low, 0.001)).clamp(0, 1)  # share of each pair; 0 keeps its frequency
    scale = positions["attention_factor"]
    if scale is None:
        scale = 0.1 * math.log(factor) + 1.0  # equation 22: the root of 1 / t
    return frequencies / factor * interpolated + frequencies * (1 - interpolated), scale


def _pair_of_turns(turns: float, config: DecoderConfig) -> float:
    """The (fractional) pair that turns so often within the original context."""
    positions = config.positions
    ratio = positions["original_max_position_embeddings"] / (turns * 2 * math.pi)
    return config.head_size * math.log(ratio) / (2 * math.log(positions["theta"]))


def rotation(config: DecoderConfig, position_ids: Tensor, dtype: torch.dtype) -> Rotation:
    """Cosines and sines [B, T, E] for positions [B, T]."""
    frequencies, scale = rotary_frequencies(config, position_ids.device)
    angles = position_ids[..., None].float() * frequencies
    angles = torch.cat((angles, angles), dim=-1)
    return (angles.cos() * scale).to(dtype), (angles.sin() * scale).to(dtype)


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Turns entries i and i + E / 2 of each head of x [B, H, T, E] as one pair (Llama's layout)."""
    cos, sin = by
    first, second = x.chunk(2, dim=-1)
    return x * cos[:, None] + torch.cat((-second, first), dim=-1) * sin[:, None]


def sinusoids(position_ids: Tensor, size: int) -> Tensor:
    """PE(p, 2i) = sin(p / 10000^(2i / D)), PE(p, 2i + 1) = cos of the same, for positions [B, T]: [B, T, size]."""
    exponents = torch.arange(0, size, 2, device=position_ids.device, dtype=torch.float32) / size
    angles = position_ids[..., None].float() / SINUSOID_BASE**exponents
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)


def alibi_slopes(num_heads: int) -> list[float]:
    """The penalty per token of each head (Press et al. 2022, section 3, and its appendix for other numbers of heads).

    For 2^k heads 2^(-8 / 2^k), 2^(-16 / 2^k), ... Other numbers take the slopes of the next lower power of two, and
    then every other slope of the next higher one.
    """
    lower = 2 ** math.floor(math.log2(num_heads))
    slopes = [2 ** (-8 * (head + 1) / lower) for head in range(lower)]
    between = [2 ** (-8 * (head + 1) / (2 * lower)) for head in range(0, 2 * lower, 2)]
    return slopes + between[: num_heads - lower]


def distances(mask: Tensor, position_ids: Tensor | None) -> Tensor:
    """How far each key lies before each query [B or 1, 1, T, S].

    By the positions if there are any for all keys, which is when nothing is cached; else by the places in the row.
    Adding a constant to all scores of a query changes nothing, so for ALiBi neither padding matters nor where the cache
    begins; and documents packed into one row do not see each other.
    """
    num_queries, num_keys = mask.shape[-2:]
    if position_ids is not None and num_queries == num_keys:
        return (position_ids[:, :, None] - position_ids[:, None, :])[:, None]
    queries = torch.arange(num_keys - num_queries, num_keys, device=mask.device)
    return (queries[:, None] - torch.arange(num_keys, device=mask.device))[None, None]


def add_alibi(mask: Tensor, distance: Tensor, num_heads: int, dtype: torch.dtype) -> Tensor:
    """A mask [B, 1, T, S], boolean or additive, with -slope x distance where it lets attend: [B or 1, H, T, S]."""
    if mask.stride(0) == 0:
        mask = mask[:1]  # the same for all rows
    penalty = -torch.tensor(alibi_slopes(num_heads), device=mask.device)[:, None, None] * distance
    if mask.dtype == torch.bool:
        return torch.where(mask, penalty, torch.finfo(dtype).min).to(dtype)
    return (mask + penalty).clamp(min=torch.finfo(dtype).min).to(dtype)


def attend_plainly(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Attention in the words of its definition, all weights [B, H, T, S] in memory (`attn_implementation: eager`)."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = F.dropout(scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype), dropout, module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


class Attention(nn.Module):
    """Multi-head, grouped-query or multi-query attention (Vaswani et al. 2017; Ainslie et al. 2023; Shazeer 2019)."""

    def __init__(self, config: DecoderConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.is_causal = True
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = config.head_size**-0.5
        queries = config.num_attention_heads * config.head_size
        keys = config.num_key_value_heads * config.head_size
        self.q_proj = nn.Linear(config.hidden_size, queries, bias=config.attention_bias)
        self.k_proj = nn.Linear(config.hidden_size, keys, bias=config.attention_bias)
        self.v_proj = nn.Linear(config.hidden_size, keys, bias=config.attention_bias)
        self.o_proj = nn.Linear(queries, config.hidden_size, bias=config.attention_bias)
        if config.qk_norm:
            self.q_norm = build_norm(config, config.head_size)
            self.k_norm = build_norm(config, config.head_size)

    def forward(self, hidden: Tensor, mask: Tensor | None, by: Rotation | None, cache: Cache | None) -> Tensor:
        """[B, T, D] to [B, T, D]; keys and values are added to the cache, if there is one."""
        by_head = (*hidden.shape[:-1], -1, self.config.head_size)
        query, key = self.q_proj(hidden).view(by_head), self.k_proj(hidden).view(by_head)
        value = self.v_proj(hidden).view(by_head).transpose(1, 2)
        if self.config.qk_norm:
            query, key = self.q_norm(query), self.k_norm(key)
        query, key = query.transpose(1, 2), key.transpose(1, 2)
        if by is not None:
            query, key = rotate(query, by), rotate(key, by)
        query, key = query.to(value.dtype), key.to(value.dtype)  # norms and cosines are float32 under autocast
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        if mask is not None and mask.dtype != torch.bool:
            mask = mask.to(query.dtype)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, attend_plainly)
        dropout = self.config.attention_dropout if self.training else 0.0
        mixed, _ = attend(self, query, key, value, mask, scaling=self.scaling, dropout=dropout)
        output: Tensor = self.o_proj(mixed.reshape(*hidden.shape[:-1], -1))
        return output


class FeedForward(nn.Module):
    """down(act(up x)), or with a gate down(act(gate x) * up x) (Shazeer 2020, equation 6)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        size, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gated = config.activation in GATED
        if self.gated:
            self.gate_proj = nn.Linear(size, inner, bias=bias)
        self.up_proj = nn.Linear(size, inner, bias=bias)
        self.down_proj = nn.Linear(inner, size, bias=bias)
        self.activate = ACTIVATIONS[config.activation]

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        if self.gated:
            inner = self.activate(self.gate_proj(hidden)) * self.up_proj(hidden)
        else:
            inner = self.activate(self.up_proj(hidden))
        output: Tensor = self.down_proj(inner)
        return output


class DecoderLayer(GradientCheckpointingLayer):  # type: ignore[misc]
    """Attention and feed-forward, each on the normalized stream and added back to it (pre-norm, Xiong et al. 2020)."""

    def __init__(self, config: DecoderConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer_idx)
        self.mlp = FeedForward(config)
        self.input_layernorm = build_norm(config, config.hidden_size)
        self.post_attention_layernorm = build_norm(config, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        hidden: Tensor,
        attention_mask: Tensor | None = None,
        position_embeddings: Rotation | None = None,
        past_key_values: Cache | None = None,
    ) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        mixed = self.self_attn(self.input_layernorm(hidden), attention_mask, position_embeddings, past_key_values)
        hidden = hidden + self.dropout(mixed)
        output: Tensor = hidden + self.dropout(self.mlp(self.post_attention_layernorm(hidden)))
        return output


class DecoderPreTrainedModel(PreTrainedModel):  # type: ignore[misc]
    """What the library asks of every model of a family."""

    config_class = DecoderConfig
    config: DecoderConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ("DecoderLayer",)
    _skip_keys_device_placement = ("past_key_values",)
    _supports_sdpa = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Matrices and embeddings from a normal distribution, biases 0, gains 1."""
        if isinstance(module, nn.Linear | nn.Embedding):
            init.normal_(module.weight, mean=0.0, std=self.config.initializer_range)
        elif isinstance(module, RMSNorm | nn.LayerNorm):
            init.ones_(module.weight)
        if isinstance(module, nn.Linear | nn.LayerNorm) and module.bias is not None:
            init.zeros_(module.bias)


class DecoderModel(DecoderPreTrainedModel):
    """Ids to hidden states, without the head."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        if config.positions["name"] == "learned":
            self.embed_positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(DecoderLayer(config, index) for index in range(config.num_hidden_layers))
        self.norm = build_norm(config, config.hidden_size)
        self.gradient_checkpointing = False
        self.post_init()

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPast:
        """Last hidden states [B, T, D], after the final norm.

        Args:
            input_ids: Tokens [B, T].
            attention_mask: [B, S], 0 where a token is padding; or [B, 1, T, S], what attends to what, less the window.
            position_ids: [B, T]; without them positions count on from the cache. Without cache and mask, a position
                that does not follow the one before begins a document that sees nothing of the earlier ones.
            past_key_values: Keys and values of earlier tokens; grows by T.
            inputs_embeds: [B, T, D] in place of `input_ids`.
            use_cache: Whether to return a cache; None takes the configuration's word, False while training.
        """
        embeds = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache is None:
            use_cache = bool(self.config.use_cache) and not self.training
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        mask = self._mask(embeds, attention_mask, past_key_values, position_ids)
        if position_ids is None:
            start = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = torch.arange(embeds.shape[1], device=embeds.device)[None] + start
        hidden = self.dropout(self._add_positions(embeds, position_ids))
        by = None
        if self.config.positions["name"] in ("rope", "yarn"):
            by = rotation(self.config, position_ids, hidden.dtype)
        for layer in self.layers:
            hidden = layer(hidden, attention_mask=mask, position_embeddings=by, past_key_values=past_key_values)
        return BaseModelOutputWithPast(
            last_hidden_state=self.norm(hidden), past_key_values=past_key_values if use_cache else None
        )

    def _mask(
        self, embeds: Tensor, padding: Tensor | None, cache: Cache | None, position_ids: Tensor | None
    ) -> Tensor | None:
        """What attends to what [B or 1, 1 or H, T, S], or None for plain causal attention."""
        window, alibi = self.config.sliding_window, self.config.positions["name"] == "alibi"
        make = create_causal_mask if window is None else create_sliding_window_causal_mask
        mask: Tensor | None = make(self.config, embeds, padding, cache, position_ids, allow_is_causal_skip=not alibi)
        if mask is None:
            return None
        if window is not None and padding is not None and padding.ndim == 4:  # taken as it is by the library
            near = distances(mask, position_ids) < window
            mask = mask & near if mask.dtype == torch.bool else mask.masked_fill(~near, torch.finfo(mask.dtype).min)
        if alibi:
            mask = add_alibi(mask, distances(mask, position_ids), self.config.num_attention_heads, embeds.dtype)
        return mask

    def _add_positions(self, embeds: Tensor, position_ids: Tensor) -> Tensor:
        size, name = self.config.hidden_size, self.config.positions["name"]
        added = embeds
        if name == "learned":
            added = embeds + self.embed_positions(position_ids)
        elif name == "sinusoidal":  # scaled up to the sinusoids, whose entries are about 1 (section 3.4 of the paper)
            added = embeds * math.sqrt(size) + sinusoids(position_ids, size).to(embeds.dtype)
        return added


class DecoderForCausalLM(DecoderPreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """Ids to the logits of the token that follows each."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012  # the library's own form

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config)
        self.model = DecoderModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits [B, T, vocabulary], and with labels their mean cross-entropy; see `DecoderModel.forward`.

        Args:
            input_ids: As there, like the next five.
            attention_mask: As there.
            position_ids: As there.
            past_key_values: As there.
            inputs_embeds: As there.
            labels: [B, T], the input ids themselves: they are shifted here; -100 is not counted.
            use_cache: As there.
            logits_to_keep: Logits of only the last so many tokens, or of the tokens at these indices; 0 means all.
            **kwargs: What the library's loss understands.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
        )
        logits = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=outputs.past_key_values)


class DecoderForSequenceClassification(GenericForSequenceClassification, DecoderPreTrainedModel):  # type: ignore[misc]
    """A linear head on the last token's hidden state, for reward models."""


AutoConfig.register(DecoderConfig.model_type, DecoderConfig, exist_ok=True)
AutoModel.register(DecoderConfig, DecoderModel, exist_ok=True)
AutoModelForCausalLM.register(DecoderConfig, DecoderForCausalLM, exist_ok=True)
AutoModelForSequenceClassification.register(DecoderConfig, DecoderForSequenceClassification, exist_ok=True)
