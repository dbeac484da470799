"""Memory of a training step: the step itself, run on tensors that have sizes but no content.

A formula would have to follow every change of the model, the objective, the optimizers and torch's choice of kernels.
This runs them: every operation's outputs are alive exactly as long as in a real step. It takes seconds, whatever the
size of the model, and no memory to speak of.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from pydantic import TypeAdapter
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Optimizer
from transformers import PreTrainedModel, masking_utils

from forgeline.model.build import new_model
from forgeline.model.compute import autocast
from forgeline.model.params import Architecture, ComputeParams, ModelParams
from forgeline.planning.live_memory import LiveMemory, PretendedScalars
from forgeline.planning.vocabulary import num_entries
from forgeline.planning.work import Params
from forgeline.training.loop.optimizers.build import build_optimizers, clip_gradients
from forgeline.training.loop.optimizers.params import OptimizerParams
from forgeline.training.loop.optimizers.sophia import Sophia
from forgeline.training.pretraining.network import LossNetwork

_CPU = torch.device("cpu")
# What families call a change of their logits, for which all of them are kept.
_CHANGES_OF_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling")
_NUM_STEPS = 2  # the first makes the optimizer's state, the second is like all that follow


@dataclass(frozen=True)
class StepShape:
    """What a step is fed.

    Attributes:
        micro_batch_size: Windows of one forward pass.
        sequence_length: Tokens of a window.
        gradient_accumulation_steps: Forward passes of one step.
        gradient_checkpointing: Whether layers keep only their input and are computed again in the backward pass.
    """

    micro_batch_size: int
    sequence_length: int
    gradient_accumulation_steps: int
    gradient_checkpointing: bool


@dataclass(frozen=True)
class StepMemory:
    """Bytes of tensors in a training step; libraries, code and what kernels use inside themselves come on top.

    Attributes:
        weights: Of the model.
        gradients: One for each weight.
        optimizer: Its state.
        activations: All that the backward pass needs at the moment it begins.
        peak: Most at any moment of a step.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    peak: int


@dataclass(frozen=True)
class _Vocabulary:
    size: int
    bos_token_id: int = 0
    eos_token_id: int = 0
    pad_token_id: int = 0

    def __len__(self) -> int:
        return self.size


def step_memory(
    params: Architecture, vocab_size: int, optimizer: OptimizerParams, compute: ComputeParams, shape: StepShape
) -> StepMemory | None:
    """Memory of a training step of a new model on a CPU.

    Args:
        params: The architecture.
        vocab_size: Entries of the vocabulary.
        optimizer: Which one, and its knobs.
        compute: The precision.
        shape: What a step is fed.

    Returns:
        None where sizes depend on content, as those of some mixtures of experts.

    Raises:
        ParamsError: The transformers library cannot build the family with these overrides.
    """
    with _as_if_real(), FakeTensorMode(), PretendedScalars(), LiveMemory() as live:
        model = new_model(params, _Vocabulary(vocab_size))
        model.train()
        try:
            if shape.gradient_checkpointing:
                model.activation_checkpointing_enable()
            return _measure(model, vocab_size, optimizer, compute, shape, live)
        except RuntimeError:  # a size that depends on content, or a kernel that torch has no rule of sizes for
            return None


@contextmanager
def _as_if_real() -> Iterator[None]:
    """Has transformers choose masks as in a real run; it takes fake tensors for a sign that a graph is being exported.

    Torch's fake tensors log what they cannot do, which here is no error but one of the answers.
    """
    is_tracing, log = masking_utils.is_tracing, logging.getLogger(fake_tensor.__name__)
    masking_utils.is_tracing, was_disabled, log.disabled = lambda _=None: False, log.disabled, True
    try:
        yield
    finally:
        masking_utils.is_tracing, log.disabled = is_tracing, was_disabled


def pretraining_memory(params: Params) -> StepMemory | None:
    """Memory of a step of stage `pretrain` as params.yaml describes it, from random weights on one device."""
    section = params["pretrain"]
    shape = StepShape(
        micro_batch_size=section["micro_batch_size"],
        sequence_length=params["pack"]["sequence_length"],
        gradient_accumulation_steps=section["gradient_accumulation_steps"],
        gradient_checkpointing=section["gradient_checkpointing"],
    )
    return step_memory(
        ModelParams.model_validate(params["model"]).root,
        num_entries(params["tokenizer"]),
        TypeAdapter(OptimizerParams).validate_python(section["optimizer"]),
        ComputeParams.model_validate(params["compute"]),
        shape,
    )


def _measure(
    model: PreTrainedModel,
    vocab_size: int,
    params: OptimizerParams,
    compute: ComputeParams,
    shape: StepShape,
    live: LiveMemory,
) -> StepMemory:
    step = _Step(model, build_optimizers(params, model), compute, vocab_size, shape, live)
    weights = live.num_bytes
    for _ in range(_NUM_STEPS):
        step.run()
    gradients = sum(value.nbytes for value in model.parameters() if value.requires_grad)
    return StepMemory(
        weights=weights,
        gradients=gradients,
        optimizer=live.num_bytes - weights,  # gradients were freed
        activations=step.kept_bytes,
        peak=live.peak_bytes,
    )


class _Step:
    """The optimizer step of `forgeline.training.pretrain`, without data and without looking at values."""

    def __init__(
        self,
        model: PreTrainedModel,
        optimizers: list[Optimizer],
        compute: ComputeParams,
        vocab_size: int,
        shape: StepShape,
        live: LiveMemory,
    ) -> None:
        is_blockwise = not any(getattr(model.config, name, None) for name in _CHANGES_OF_LOGITS)
        self.model = model
        self.compute = compute
        self.network = LossNetwork(model, is_blockwise)
        self.optimizers = optimizers
        self.vocab_size = vocab_size
        self.shape = shape
        self.live = live
        self.kept_bytes = 0

    def run(self) -> None:
        """One step."""
        for optimizer in self.optimizers:
            if isinstance(optimizer, Sophia):  # as in the step that estimates the Hessian, which takes most
                self._accumulate(draw=True)
                optimizer.update_hessian(num_labels=1)
                optimizer.zero_grad()
        self._accumulate(draw=False)
        clip_gradients(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()

    def _accumulate(self, draw: bool) -> None:
        # The first micro-batch makes the gradients, the second runs beside them, and so do all that follow.
        for _ in range(min(self.shape.gradient_accumulation_steps, 2)):
            self._micro_batch(draw)

    def _micro_batch(self, draw: bool) -> None:
        windows = (self.shape.micro_batch_size, self.shape.sequence_length)
        ids = torch.zeros(windows, dtype=torch.long)
        before = self.live.num_bytes
        with autocast(_CPU, self.compute):
            loss = self.network(ids, torch.rand(windows) if draw else None, input_ids=ids)
        self.kept_bytes = max(self.kept_bytes, self.live.num_bytes - before)
        (loss / ids.numel()).backward()
