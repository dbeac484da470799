"""An adapter chain into plain weights, and proof that the model is the same."""

from dataclasses import dataclass

import torch
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from forgeline.core.errors import DataError
from forgeline.model.merge_params import MergeGateParams
from forgeline.tokenization.chat import stop_token_ids


@dataclass(frozen=True)
class Merge:
    """A merged model.

    Attributes:
        model: Plain weights.
        max_logit_difference: Largest |Δlogit| between adapter and merged weights on the probe windows.
        max_logit: Largest |logit| there, to judge the difference by.
        num_tensors_in: Tensors before, the adapter's included.
        num_tensors_out: Tensors after.
    """

    model: PreTrainedModel
    max_logit_difference: float
    max_logit: float
    num_tensors_in: int
    num_tensors_out: int


def merge(model: PreTrainedModel | PeftModel, probe: torch.Tensor, gate: MergeGateParams) -> Merge:
    """Adds an adapter's update to the weights it sits on, in float32. Plain weights pass through.

    Causal models and classifiers alike; the `score` head of a classifier's adapter takes the place of its parent's.

    Args:
        model: From `load_model`, in float32 and evaluation mode; changed in place.
        probe: Token ids [windows, T] on which logits are compared.
        gate: How exact it must be.

    Raises:
        DataError: The logits differ by more than `gate.max_logit_difference`, or are not numbers.
    """
    num_tensors_in = len(model.state_dict())
    before = _logits(model, probe)
    merged: PreTrainedModel = model.merge_and_unload() if isinstance(model, PeftModel) else model
    difference = float((_logits(merged, probe) - before).abs().max())
    if not difference <= gate.max_logit_difference:
        raise DataError(
            f"merging changed a logit by {difference:g}, more than merge.gate.max_logit_difference "
            f"{gate.max_logit_difference:g} allows: raise the limit, or look for weights that are not finite"
        )
    return Merge(merged, difference, float(before.abs().max()), num_tensors_in, len(merged.state_dict()))


def _logits(model: PreTrainedModel | PeftModel, probe: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=probe, use_cache=False).logits.float()
    return logits


def generation_config_of(tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """How the model is to be run in a chat: it stops at the end of its turn or of the document, greedily.

    transformers' `generate` reads it from the model's folder.
    """
    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=stop_token_ids(tokenizer), pad_token_id=tokenizer.pad_token_id
    )
