"""A language model as training runs it: from token ids straight to the loss, in the precision of the products."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from forgeline.training.loop.objective import next_token_loss
from forgeline.training.params.pretrain import PretrainParams
from forgeline.training.pretraining.head_loss import draw_labels, has_plain_head, head_loss


class LossNetwork(nn.Module):
    """A causal language model whose forward pass ends in the summed next-token loss.

    One module from ids to loss, so that what wraps a module for several processes sees the whole step, and so that
    the logits need not leave it.
    """

    model: Any

    def __init__(self, model: nn.Module, is_blockwise: bool | None = None) -> None:
        """Finds out how the loss can be computed.

        Args:
            model: A causal language model of transformers, or one that is called like it.
            is_blockwise: Whether its head is a plain one, where that cannot be tried (on tensors without content).
        """
        super().__init__()
        self.model = model
        self._is_blockwise = has_plain_head(model) if is_blockwise is None else is_blockwise

    def forward(self, labels: Tensor | None, uniforms: Tensor | None = None, **inputs: Tensor) -> Tensor:
        """The loss in nats, summed over supervised tokens; without labels the logits, for objectives of one's own.

        Args:
            labels: (batch, time), already shifted; -100 is not supervised. None asks for the logits.
            uniforms: (batch, time): takes labels drawn from the model's own distribution instead (`draw_labels`).
            inputs: What the model takes: `input_ids` (batch, time) and maybe `position_ids`.
        """
        if labels is not None and self._is_blockwise:
            hidden = self.model.base_model(**inputs, use_cache=False)[0]
            return head_loss(hidden, self.model.get_output_embeddings().weight, labels, uniforms)
        logits: Tensor = self.model(**inputs, use_cache=False).logits
        if labels is None:
            return logits
        if uniforms is not None:
            labels = draw_labels(logits, labels, uniforms)
        return next_token_loss(logits, labels)[0]


class WorkingCopy:
    """A bfloat16 copy of a model that computes, while the float32 weights, the masters, are what is trained and saved.

    Autocast would convert every weight in every pass, and keep what flows between the layers in float32. What every
    optimizer does is the same either way: it sees float32 weights and gradients.

    Attributes:
        model: The copy. Its buffers (rotary frequencies, say) keep their precision.
    """

    def __init__(self, masters: nn.Module, model: nn.Module) -> None:
        """Makes the copy of another model of the same architecture.

        Args:
            masters: What is trained.
            model: What becomes the copy; its weights are converted.
        """
        self.model = model
        for parameter in self.model.parameters():
            parameter.data = parameter.data.bfloat16()
        self._pairs = list(zip(masters.parameters(), self.model.parameters(), strict=True))

    def hand_over_gradients(self) -> None:
        """Adds the copy's gradients to the masters', in float32, and clears them."""
        for master, working in self._pairs:
            if working.grad is None:
                continue
            if master.grad is None:
                master.grad = working.grad.float()
            else:
                master.grad += working.grad
            working.grad = None

    @torch.no_grad()
    def update(self) -> None:
        """Takes over the masters' weights."""
        for master, working in self._pairs:
            working.copy_(master)


class Computation:
    """A model, and the network that computes its loss and gradients, as accelerate runs them.

    Attributes:
        model: What is trained and saved.
        network: A `LossNetwork` of the model or of its working copy.
        optimizers: Of the model's weights.
    """

    def __init__(
        self, model: nn.Module, optimizers: Sequence[Optimizer], params: PretrainParams, accelerator: Accelerator
    ) -> None:
        """Spreads model and optimizers over the processes, and compiles if that is wanted.

        One process alone computes bf16 with a working copy. Several leave it to autocast and to what cuts the weights.
        """
        alone = accelerator.num_processes == 1 and accelerator.mixed_precision == "bf16"
        self._copy = None
        if alone and all(parameter.requires_grad for parameter in model.parameters()):
            model.to(accelerator.device)
            self._copy = WorkingCopy(model, copy.deepcopy(model))
        network = LossNetwork(model if self._copy is None else self._copy.model)
        _set_up(network.model, params, accelerator.device)
        if self._copy is None:
            prepared = accelerator.prepare(network, *optimizers)
            self.network: nn.Module = prepared[0]
            self.model: nn.Module = accelerator.unwrap_model(prepared[0]).model
            self.optimizers: list[Optimizer] = list(prepared[1:])
        else:
            self.network, self.model = network, model
            self.optimizers = [accelerator.prepare(optimizer) for optimizer in optimizers]
        self.network.train()  # a model that was loaded comes in evaluation mode

    def gradients_are_complete(self) -> None:
        """To be called after every backward pass."""
        if self._copy is not None:
            self._copy.hand_over_gradients()

    def weights_have_changed(self) -> None:
        """To be called after every change of the model's weights."""
        if self._copy is not None:
            self._copy.update()


def _set_up(model: Any, params: PretrainParams, device: torch.device) -> None:
    if params.gradient_checkpointing:
        model.activation_checkpointing_enable()
    if params.compile:
        if device.type == "cpu":  # compiled, the plain products are faster than torch's fused attention for CPUs
            model.set_attn_implementation("eager")
        model.base_model.compile()
