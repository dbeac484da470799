"""Architectures of the transformers library by their `model_type`, checked before anything is built."""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from forgeline.core.errors import ForgelineError, ParamsError
from forgeline.model.params import TransformersParams

_NAMES_SHOWN = 5
_NO_SPECIAL_TOKENS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


def family_config(params: TransformersParams, given: dict[str, Any]) -> PreTrainedConfig:
    """The family's configuration with the overrides in place.

    Args:
        params: Family and overrides.
        given: What the tokenizer decides, by the names of the configuration.

    Raises:
        ParamsError: No such family of causal language models, no such key in its configuration, or a value that the
            configuration refuses; the message names the knob.
    """
    family = params.model_type
    if family not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or family not in CONFIG_MAPPING:
        raise ParamsError(
            f"params.yaml: model.model_type: transformers has no causal language model '{family}'"
            f"{_did_you_mean(family, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)}"
        )
    known = _keys(family)
    for key in params.overrides:
        if key not in known:
            raise ParamsError(
                f"params.yaml: model.overrides.{key}: {family} has no such key{_did_you_mean(key, known)}"
            )
    with explain_refusal(family):
        config: PreTrainedConfig = CONFIG_MAPPING[family](**given, **params.overrides)
    return config


@contextmanager
def explain_refusal(family: str) -> Iterator[None]:
    """Turns what a family's code raises at sizes that do not fit together into one message.

    It raises errors of many kinds, some of packages beneath it, and knows nothing of params.yaml.
    """
    try:
        yield
    except ForgelineError:
        raise
    except Exception as error:
        raise ParamsError(
            f"params.yaml: model.overrides: {family} cannot be built or run with them "
            f"({type(error).__name__}: {' '.join(str(error).split())}): check that sizes fit together"
        ) from error


def check_family(params: TransformersParams, vocab_size: int) -> PreTrainedConfig:
    """As `family_config`, before there is a tokenizer."""
    return family_config(params, {"vocab_size": vocab_size, **_NO_SPECIAL_TOKENS})


def _keys(family: str) -> set[str]:
    """What a configuration of the family holds, old names included."""
    config = CONFIG_MAPPING[family]
    fresh = config()
    return {key for key in {*fresh.to_dict(), *config.attribute_map} if not key.startswith("_")}


def _did_you_mean(name: str, known: Any) -> str:
    near = get_close_matches(name, sorted(known), _NAMES_SHOWN, cutoff=0.5)
    return f": did you mean {', '.join(near)}?" if near else ": check its spelling"
