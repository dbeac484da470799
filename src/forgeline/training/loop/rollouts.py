"""Sampling answers from the policy and gathering them by prompt."""

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel

from forgeline.inference.engine import generate
from forgeline.model.compute import autocast
from forgeline.model.params import ComputeParams
from forgeline.training.loop.policy_loss import Answer, Group

BATCH_TOKENS = 8192  # padded tokens of one forward pass, when sampling and when updating


@dataclass(frozen=True)
class Prompt:
    """Token ids up to the assistant's header, and the answer they are judged by."""

    input_ids: tuple[int, ...]
    reference: str


@dataclass(frozen=True)
class Sampler:
    """How answers are drawn.

    Attributes:
        stop_token_ids: An answer ends with any of them.
        pad_token_id: Fills shorter rows.
        compute: Precision.
    """

    stop_token_ids: Sequence[int]
    pad_token_id: int
    compute: ComputeParams

    def answer(
        self,
        model: PreTrainedModel | PeftModel,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        temperature: float,
        generator: torch.Generator | None,
    ) -> list[list[int]]:
        """Token ids of one answer to each prompt, the stop token included when there is one."""
        # Weights that are in bfloat16 already need no casts.
        with nullcontext() if model.dtype == torch.bfloat16 else autocast(model.device, self.compute):
            written = generate(
                model,
                [prompt.input_ids for prompt in prompts],
                max_new_tokens=max_new_tokens,
                stop_token_ids=self.stop_token_ids,
                pad_token_id=self.pad_token_id,
                temperature=temperature,
                generator=generator,
                batch_tokens=BATCH_TOKENS,
            )
        return [generation.output_ids for generation in written]


def group_answers(prompt_ids: tuple[int, ...], answers: Sequence[Sequence[int]], advantages: Sequence[float]) -> Group:
    """The different answers to a prompt in the order of their first occurrence, each with its number of copies."""
    keys = [tuple(answer) for answer in answers]
    return Group(prompt_ids, [Answer(key, advantages[keys.index(key)], count) for key, count in Counter(keys).items()])


def merged_copy(model: PeftModel, compute: ComputeParams) -> PreTrainedModel:
    """A model without adapter to sample from; `copy_merged` fills it."""
    copy = deepcopy(model.get_base_model())
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            parent, _, child = name.rpartition(".")
            setattr(copy.get_submodule(parent), child, deepcopy(module.get_base_layer()))
    return copy.to(torch.bfloat16 if compute.precision == "bf16" else torch.float32).eval()


@torch.no_grad()
def copy_merged(model: PeftModel, target: PreTrainedModel) -> None:
    """Writes W + (alpha / r) B A of every adapted layer of `model` into the layer of the same name of `target`."""
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            merged = module.get_base_layer().weight + module.get_delta_weight("default")
            target.get_submodule(name).weight.copy_(merged)
