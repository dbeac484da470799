"""Attention over packed rows, each conversation by itself: what the others would add is never computed.

Without it a library lays a mask over the whole row, and a row of N tokens costs N² scores however short its
conversations are. Here N tokens in conversations of L tokens cost N L / 2. On GPUs flash-attn's kernel of variable
lengths does that; this is for where it is not, the CPU above all.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from forgeline.core.errors import ParamsError
from forgeline.core.progress import announce_fact
from forgeline.model.batches import evaluation_mode

_SEGMENTS = "forgeline_segments"
_FLASH = "flash_attention_2"
_UNKNOWN = ("softcap", "s_aux", "position_bias")  # arguments that change the scores in ways not computed here
_KNOWN_LAYERS = {"full_attention", "sliding_attention"}
_PROBE_TOKENS = 4  # of each of two conversations
_TOLERANCE = 1e-3  # of the largest logit: what a row's other shape may change by rounding


def segment_arguments(lengths: Sequence[int]) -> dict[str, Any]:
    """The arguments of a forward pass that say where conversations begin, by the library's names.

    Args:
        lengths: Tokens of each conversation of the one row, in order.

    Returns:
        `cu_seq_lens_q` and `cu_seq_lens_k`: where each begins, and the end of the last; `max_length_q` and
        `max_length_k`: the longest.
    """
    bounds = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    longest = max(lengths)
    return {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": longest, "max_length_k": longest}


@contextmanager
def attending(model: PreTrainedModel, implementation: str) -> Iterator[None]:
    """The model's attention is computed so, and as before afterwards."""
    before = model.config._attn_implementation
    if implementation == before:
        yield
        return
    model.set_attn_implementation(implementation)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def packed_attention(model: PreTrainedModel, knob: str, *, in_16_bits: bool) -> str:
    """Which implementation of attention keeps the conversations of a row apart in this model, the fastest that does.

    Found out by trying, since nothing in a model says so: ours (or flash-attn's, which takes the same arguments), else
    the model's own with a mask that the library derives from positions, of which the user is told.

    Args:
        model: Plain, of any architecture.
        knob: The parameter that asks for packed rows.
        in_16_bits: Whether products are, which flash-attn needs.

    Raises:
        ParamsError: None does.
    """
    own: str = model.config._attn_implementation
    if model._can_set_attn_implementation() and _layer_types(model) <= _KNOWN_LAYERS and _keeps_apart(model, _SEGMENTS):
        return _FLASH if in_16_bits and _has_flash(model) else _SEGMENTS
    if not _keeps_apart(model, own):
        raise ParamsError(
            f"params.yaml: {knob}: this architecture does not keep the documents of a window apart: set it to false"
        )
    announce_fact(
        f"attention of {model.config.model_type} is computed over whole micro-batches and masked: time and memory grow "
        "with the square of micro_batch_size x max_length"
    )
    return own


def _has_flash(model: PreTrainedModel) -> bool:
    is_installed = importlib.util.find_spec("flash_attn") is not None
    return is_installed and model.device.type == "cuda" and bool(model._supports_flash_attn)


def _layer_types(model: PreTrainedModel) -> set[str]:
    return set(getattr(model.config.get_text_config(decoder=True), "layer_types", None) or [])


@torch.no_grad()
def _keeps_apart(model: PreTrainedModel, implementation: str) -> bool:
    """Whether the second of two conversations of a row depends on the first, be it on its words or its length."""
    device = model.device
    rows = torch.zeros((2, 1, 2 * _PROBE_TOKENS), dtype=torch.long, device=device)
    rows[1, :, :_PROBE_TOKENS] = 1
    positions = torch.arange(_PROBE_TOKENS, device=device).repeat(2)[None]
    bounds = segment_arguments([_PROBE_TOKENS, _PROBE_TOKENS])
    bounds |= {name: value.to(device) for name, value in bounds.items() if isinstance(value, Tensor)}
    try:
        with evaluation_mode(model):
            alone = model(input_ids=rows[0, :, _PROBE_TOKENS:], use_cache=False).logits
            with attending(model, implementation):
                first, second = (
                    model(input_ids=row, position_ids=positions, use_cache=False, **bounds).logits[:, _PROBE_TOKENS:]
                    for row in rows
                )
    except (TypeError, ParamsError):  # the forward pass has no such arguments, or more than we compute
        return False
    tolerance = _TOLERANCE * float(alone.abs().max())
    return torch.equal(first, second) and torch.allclose(first.float(), alone.float(), rtol=0.0, atol=tolerance)


def attend_segments(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention softmax(Q K^T · scaling) V within each conversation of one row.

    Args:
        module: The layer; unused.
        query: [1, heads, tokens, head size].
        key: [1, key heads, tokens, head size]; each serves heads / key heads of the heads that follow each other.
        value: As `key`; its head size may be another.
        attention_mask: Unused: which tokens see each other follows from the bounds.
        dropout: Share of the probabilities set to 0.
        scaling: Of the scores; None is 1 / sqrt(head size).
        sliding_window: A token sees itself and as many before it as make this number; None is all.
        cu_seq_lens_q: Where each conversation begins, and the end of the last.
        others: What else the library passes.

    Returns:
        [1, tokens, heads, head size of `value`], and no probabilities.

    Raises:
        ParamsError: The model asks for something that is not computed here.
    """
    unknown = [name for name in _UNKNOWN if others.get(name) is not None]
    if unknown or cu_seq_lens_q is None or query.size(0) != 1:
        raise ParamsError(
            f"packed rows: attention with {', '.join(unknown) or 'no bounds of conversations'} is not computed for "
            "each conversation alone: set sft.packing to false"
        )
    if torch.is_autocast_enabled(query.device.type):
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    sizes = cu_seq_lens_q.diff().tolist()
    parts = zip(*(torch.split(tensor, sizes, dim=2) for tensor in (query, key, value)), strict=True)
    outputs = [_attend(q, k, v, scaling, sliding_window, dropout) for q, k, v in parts]
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


def no_mask(*arguments: Any, **named: Any) -> None:
    """The mask that `attend_segments` takes."""


AttentionInterface.register(_SEGMENTS, attend_segments)
AttentionMaskInterface.register(_SEGMENTS, no_mask)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None, dropout: float
) -> Tensor:
    """Causal attention of one conversation."""
    size, mask = query.size(2), None
    if window is not None and size > window:
        mask = torch.ones((size, size), dtype=torch.bool, device=query.device).tril().triu(1 - window)
    return nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query.size(1) != key.size(1),
    )
