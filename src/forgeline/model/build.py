"""New models with random weights."""

from typing import Any, Protocol

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, PreTrainedModel

import forgeline.model.decoder  # noqa: F401  # makes the library know our decoder
from forgeline.core.errors import ParamsError
from forgeline.model.batches import evaluation_mode
from forgeline.model.decoder_config import DecoderConfig
from forgeline.model.families import explain_refusal, family_config
from forgeline.model.params import Architecture, DecoderParams, LlamaParams, RopeParams, TransformersParams, YarnParams
from forgeline.model.traits import cache_argument, keeps_logits

_PROBE_TOKENS = 8


class Vocabulary(Protocol):
    """All that a new model needs of a tokenizer."""

    @property
    def bos_token_id(self) -> int | None:
        """Of the token that begins a text."""

    @property
    def eos_token_id(self) -> int | None:
        """Of the token that ends one."""

    @property
    def pad_token_id(self) -> int | None:
        """Of the token that fills rows."""

    def __len__(self) -> int: ...


def build_model(params: Architecture, tokenizer: Vocabulary) -> PreTrainedModel:
    """A model with random weights in float32 on the CPU, drawn from torch's global generator.

    Args:
        params: The architecture; a decoder whose choices are all Llama's becomes a `LlamaForCausalLM`.
        tokenizer: Gives vocabulary size and special ids.

    Raises:
        ParamsError: The library has no such family, the family no such key or value, or the model would see the tokens
            that it is to predict.
    """
    if isinstance(params, TransformersParams):
        with explain_refusal(params.model_type):
            family = new_model(params, tokenizer)
            _require_usable(family, params.model_type)
            _require_causal(family, params.model_type)
        return family
    return new_model(params, tokenizer)


def new_model(params: Architecture, tokenizer: Vocabulary) -> PreTrainedModel:
    """As `build_model`, without looking at what came out; also on the meta device and with fake tensors."""
    model: PreTrainedModel = AutoModelForCausalLM.from_config(build_config(params, tokenizer))
    return model


def build_config(params: Architecture, tokenizer: Vocabulary) -> PreTrainedConfig:
    """What config.json of a new model will hold; see `build_model`."""
    given: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "dtype": torch.float32,
    }
    match params:
        case LlamaParams():
            rope = {"rope_type": "default", "rope_theta": params.rope_theta}
            return LlamaConfig(**given, **params.model_dump(exclude={"kind", "rope_theta"}), rope_parameters=rope)
        case DecoderParams() if params.is_llama:
            return _llama_config(params, given)
        case DecoderParams():
            return DecoderConfig(**given, **params.model_dump(exclude={"kind"}))
        case TransformersParams():
            return family_config(params, given)


def _llama_config(params: DecoderParams, given: dict[str, Any]) -> LlamaConfig:
    """A decoder's choices in Llama's words."""
    positions = params.positions
    rope: dict[str, Any] = {"rope_type": "default"}
    if isinstance(positions, YarnParams):
        rope = {"rope_type": "yarn", **positions.model_dump(exclude={"name", "theta"}, exclude_none=True)}
    if isinstance(positions, RopeParams | YarnParams):
        rope["rope_theta"] = positions.theta
    others = {"kind", "positions", "norm", "norm_eps", "activation", "sliding_window", "qk_norm", "dropout"}
    return LlamaConfig(**given, **params.model_dump(exclude=others), rms_norm_eps=params.norm_eps, rope_parameters=rope)


def _require_usable(model: PreTrainedModel, family: str) -> None:
    """Refuses, before anything is trained, what evaluation and generation could not use."""
    if cache_argument(model) is None or not keeps_logits(model):
        raise ParamsError(
            f"params.yaml: model.model_type: {family} cannot generate with a cache, or not score single tokens, as "
            "the later stages need it: choose another family"
        )


def _require_causal(model: PreTrainedModel, family: str) -> None:
    """Refuses encoders, some of which the library also lists as language models.

    Changing a token must not change what is predicted from the ones before it.
    """
    ids = torch.ones(2, _PROBE_TOKENS, dtype=torch.long)
    ids[1, -1] = 0
    with evaluation_mode(model), torch.no_grad():
        first, second = model(input_ids=ids, use_cache=False).logits[:, :-1].unbind()
    if not torch.allclose(first, second, rtol=1e-3, atol=1e-4):
        raise ParamsError(
            f"params.yaml: model.model_type: {family} attends to later tokens, so it would see what it has to predict: "
            "set model.overrides.is_decoder: true if it has that key, or choose another family"
        )
