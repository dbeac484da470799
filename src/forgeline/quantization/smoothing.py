"""Scaling features without changing the model: what makes them is divided, what reads them multiplied.

y = W x = (W diag(s)) (diag(s)^-1 x), and diag(s)^-1 goes into the norm or the linear layer that x comes from. Which
feeds which has to be known for each family; see `FAMILIES`.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from forgeline.core.errors import ParamsError

# Pre-norm decoders with Llama's module names whose norms multiply by their plain weight (Gemma's by 1 + weight).
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "forgeline_decoder")


@dataclass(frozen=True)
class SmoothingGroup:
    """Linear layers that read the same features, and the norm or linear layer that those come from."""

    source: nn.Module
    readers: tuple[nn.Linear, ...]


def require_known_family(model: PreTrainedModel, method: str) -> None:
    """Refuses models of which it is not known which norm feeds which linear layer.

    Raises:
        ParamsError: It is one.
    """
    family = model.config.model_type
    if family not in FAMILIES:
        raise ParamsError(
            f"quantize: {method} has to know which norm feeds which linear layer, and does for {', '.join(FAMILIES)}, "
            f"not for {family}: take method rtn, gptq or hqq"
        )


def norm_groups(layer: Any) -> list[SmoothingGroup]:
    """The readers of a decoder layer's two norms."""
    attention, feed_forward = layer.self_attn, layer.mlp
    inner = [module for name in ("gate_proj", "up_proj") if (module := getattr(feed_forward, name, None)) is not None]
    return [
        SmoothingGroup(layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
        SmoothingGroup(layer.post_attention_layernorm, tuple(inner)),
    ]


def linear_groups(layer: Any) -> list[SmoothingGroup]:
    """The readers of linear layers: attention's output of values, the feed-forward's output of `up`, where linear.

    Values shared by several query heads are left out, as in the paper's code; so is a feed-forward without a gate,
    where the activation function stands between.
    """
    attention, feed_forward = layer.self_attn, layer.mlp
    groups = []
    if attention.v_proj.out_features == attention.o_proj.in_features:
        groups.append(SmoothingGroup(attention.v_proj, (attention.o_proj,)))
    if getattr(feed_forward, "gate_proj", None) is not None:
        groups.append(SmoothingGroup(feed_forward.up_proj, (feed_forward.down_proj,)))
    return groups


def fold(group: SmoothingGroup, scale: torch.Tensor) -> None:
    """Divides the group's features by `scale` [I] at their source and multiplies where they are read, in place."""
    made = dict(group.source.named_parameters(recurse=False))
    made["weight"].div_(scale[:, None] if made["weight"].dim() == 2 else scale)
    if "bias" in made:
        made["bias"].div_(scale)
    for reader in group.readers:
        reader.weight.mul_(scale)
