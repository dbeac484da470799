"""Sizes of an architecture of the transformers library, which has no formula but its code."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from forgeline.model.families import check_family, explain_refusal
from forgeline.model.params import TransformersParams


@dataclass(frozen=True)
class FamilySizes:
    """What a model consists of.

    Attributes:
        num_parameters: All weights, tied ones once.
        linear_layers: Last part of the name, inputs and outputs of each linear layer but the head.
        hidden_size: Width of the residual stream.
        intermediate_size: Width inside the feed-forward layers; four times the former where the family has no such key.
        num_hidden_layers: Decoder layers.
    """

    num_parameters: int
    linear_layers: tuple[tuple[str, int, int], ...]
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int


@cache
def family_sizes(params_json: str, vocab_size: int) -> FamilySizes:
    """Builds the model on the meta device, where tensors have shapes and no content.

    Args:
        params_json: `TransformersParams` as JSON, which unlike them can be remembered.
        vocab_size: Entries of the vocabulary.

    Raises:
        ParamsError: The library cannot build it.
    """
    params = TransformersParams.model_validate_json(params_json)
    config = check_family(params, vocab_size)
    with explain_refusal(params.model_type), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    text = config.get_text_config(decoder=True)
    head = model.get_output_embeddings()
    linear = [
        (name.rpartition(".")[2], module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    ]
    return FamilySizes(
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        linear_layers=tuple(linear),
        hidden_size=text.hidden_size,
        intermediate_size=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        num_hidden_layers=text.num_hidden_layers,
    )
