"""In what models of different architectures differ for their callers."""

import inspect

from transformers import PreTrainedConfig, PreTrainedModel

from forgeline.core.errors import ParamsError

CACHE_ARGUMENTS = ("past_key_values", "cache_params")  # the latter of Mamba and its kin


def max_positions(config: PreTrainedConfig) -> int | None:
    """Longest sequence in tokens, or None if the architecture sets no bound (Mamba has no positions)."""
    limit = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    return int(limit) if limit else None


def require_positions(config: PreTrainedConfig, num_tokens: int, knob: str) -> None:
    """Refuses sequences that are longer than the model is made for.

    Args:
        config: Of the model.
        num_tokens: Longest sequence.
        knob: The parameter that says so.

    Raises:
        ParamsError: They are.
    """
    limit = max_positions(config)
    if limit is not None and num_tokens > limit:
        raise ParamsError(
            f"params.yaml: {knob} {num_tokens} is more than the model's max_position_embeddings {limit}: lower it, or "
            "take a model with more"
        )


def cache_argument(model: PreTrainedModel) -> str | None:
    """What the forward pass calls its cache, or None if it knows none; one under another name is silently ignored."""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model  # PEFT hides the signature
    known = inspect.signature(plain.forward).parameters
    return next((name for name in CACHE_ARGUMENTS if name in known), None)


def keeps_logits(model: PreTrainedModel) -> bool:
    """Whether `logits_to_keep` does what it says, rather than being ignored."""
    return "logits_to_keep" in inspect.signature(model.forward).parameters


def require_branches(model: PreTrainedModel, stage: str) -> None:
    """Refuses architectures that cannot run several continuations of one prompt in a row.

    That takes a mask of what attends to what, and positions that start again: Mamba has neither, Bloom and MPT count
    positions themselves.

    Args:
        model: Plain, without an adapter.
        stage: The one that needs it.

    Raises:
        ParamsError: The forward pass has no such arguments.
    """
    known = inspect.signature(model.forward).parameters
    if "position_ids" not in known or "attention_mask" not in known:
        raise ParamsError(
            f"{stage}: a {model.config.model_type} model cannot run several answers after one prompt: choose another "
            "family in params.yaml (docs/models.md names those that work)"
        )
