"""Sampling answers from the policy as it is now."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor
from transformers import PreTrainedModel

from forgeline.inference.engine import generate
from forgeline.inference.packed import PackedLlama, is_packable, plain_weight
from forgeline.model.compute import autocast
from forgeline.model.params import ComputeParams

BATCH_TOKENS = 16384  # padded tokens of one batch
POLICY = "default"  # PEFT's name of the adapter that is trained


@dataclass(frozen=True)
class Prompt:
    """Token ids up to the assistant's header, and the answer they are judged by."""

    input_ids: tuple[int, ...]
    reference: str


class Actor:
    """Answers prompts as the policy, or as the reference, would.

    A Llama is packed for speed with the adapter merged into the packed matrices; of another architecture a copy without
    adapter is kept, which runs through its own forward pass. Both are in the precision of the computation.

    Attributes:
        num_tokens: Written since the beginning.
        seconds: Spent on that.
    """

    def __init__(
        self, model: PeftModel, stop_token_ids: Sequence[int], pad_token_id: int, compute: ComputeParams
    ) -> None:
        """Makes room for merged weights; `refresh` fills it.

        Args:
            model: The policy: frozen weights with an adapter.
            stop_token_ids: An answer ends with any of them.
            pad_token_id: Fills shorter rows.
            compute: Precision.
        """
        self.num_tokens = 0
        self.seconds = 0.0
        self._stop_token_ids = stop_token_ids
        self._pad_token_id = pad_token_id
        self._compute = compute
        self._policy = model
        plain = model.get_base_model()
        dtype = torch.bfloat16 if compute.precision == "bf16" else torch.float32
        self._packed = PackedLlama(plain, dtype, merged_weight) if is_packable(plain) else None
        self._copy = None if self._packed else merged_copy(model, dtype)

    @property
    def is_packed(self) -> bool:
        """Whether the fast path is taken."""
        return self._packed is not None

    def refresh(self, *, with_adapter: bool = True) -> None:
        """Takes over the policy's weights as they are now, or those of the reference."""
        if self._packed is not None:
            self._packed.load(merged_weight if with_adapter else base_weight)
        elif self._copy is not None:
            copy_merged(self._policy, self._copy, with_adapter=with_adapter)

    def answer(
        self, prompts: Sequence[Prompt], max_new_tokens: int, temperature: float, generator: torch.Generator | None
    ) -> list[list[int]]:
        """Token ids of one answer to each prompt, cut after its first stop token."""
        start = time.perf_counter()
        model: PackedLlama | PreTrainedModel | None = self._packed or self._copy
        if model is None:
            raise RuntimeError("neither packed nor copied")
        # Weights that are in bfloat16 already need no casts.
        mixed = self._copy is not None and self._copy.dtype != torch.bfloat16
        with autocast(self._copy.device, self._compute) if mixed and self._copy is not None else nullcontext():
            written = generate(
                model,
                [prompt.input_ids for prompt in prompts],
                max_new_tokens=max_new_tokens,
                stop_token_ids=self._stop_token_ids,
                pad_token_id=self._pad_token_id,
                temperature=temperature,
                generator=generator,
                batch_tokens=BATCH_TOKENS,
            )
        self.num_tokens += sum(len(generation.output_ids) for generation in written)
        self.seconds += time.perf_counter() - start
        return [generation.output_ids for generation in written]


def merged_weight(module: torch.nn.Module) -> Tensor:
    """W + (alpha / r) B A of a layer with the policy's adapter; W of one without."""
    weight = base_weight(module)
    return weight + module.get_delta_weight(POLICY) if isinstance(module, LoraLayer) else weight


def base_weight(module: torch.nn.Module) -> Tensor:
    """W alone."""
    return plain_weight(module.get_base_layer() if isinstance(module, LoraLayer) else module)


def merged_copy(model: PeftModel, dtype: torch.dtype) -> PreTrainedModel:
    """A model without adapter to sample from; `copy_merged` fills it."""
    copy = deepcopy(model.get_base_model())
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            parent, _, child = name.rpartition(".")
            setattr(copy.get_submodule(parent), child, deepcopy(module.get_base_layer()))
    return copy.to(dtype).eval()


@torch.no_grad()
def copy_merged(model: PeftModel, target: PreTrainedModel, *, with_adapter: bool = True) -> None:
    """Writes the weight of every adapted layer of `model`, adapter merged or left out, into that of `target`."""
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            weight = merged_weight(module) if with_adapter else base_weight(module)
            target.get_submodule(name).weight.copy_(weight)
