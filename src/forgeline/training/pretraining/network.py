"""A language model as training runs it: from token ids straight to the loss."""

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

    def __init__(self, model: nn.Module, is_blockwise: bool | None = None, autocast: torch.dtype | None = None) -> None:
        """Finds out how the loss can be computed.

        Args:
            model: A causal language model of transformers, or one that is called like it.
            is_blockwise: Whether its head is a plain one, where that cannot be tried (on tensors without content).
            autocast: A type that matrices are multiplied in; None leaves that to whoever calls.
        """
        super().__init__()
        self.model = model
        self._is_blockwise = has_plain_head(model) if is_blockwise is None else is_blockwise
        self._autocast = autocast

    def forward(self, labels: Tensor | None, uniforms: Tensor | None = None, **inputs: Tensor) -> Tensor:
        """The loss in nats, summed over supervised tokens; without labels the logits, for objectives of one's own.

        Args:
            labels: (batch, time), already shifted; -100 is not supervised. None asks for the logits.
            uniforms: (batch, time): takes labels drawn from the model's own distribution instead (`draw_labels`).
            inputs: What the model takes: `input_ids` (batch, time) and maybe `position_ids`.
        """
        if self._autocast is None:
            return self._loss(labels, uniforms, inputs)
        with torch.autocast(inputs["input_ids"].device.type, dtype=self._autocast):
            return self._loss(labels, uniforms, inputs)

    def _loss(self, labels: Tensor | None, uniforms: Tensor | None, inputs: dict[str, Tensor]) -> Tensor:
        if labels is not None and self._is_blockwise:
            hidden = self.model.base_model(**inputs, use_cache=False)[0]
            return head_loss(hidden, self.model.get_output_embeddings().weight, labels, uniforms)
        logits: Tensor = self.model(**inputs, use_cache=False).logits
        if labels is None:
            return logits
        if uniforms is not None:
            labels = draw_labels(logits, labels, uniforms)
        return next_token_loss(logits, labels)[0]


class Computation:
    """A model, and the network that computes its loss and gradients, as accelerate runs them.

    Attributes:
        model: What is trained and saved.
        network: A `LossNetwork` of the model; with bfloat16 accelerate runs it under autocast, with float16 itself.
        optimizers: Of the model's weights.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        params: PretrainParams,
        accelerator: Accelerator,
        float16: bool,
    ) -> None:
        """Spreads model and optimizers over the processes, and compiles if that is wanted."""
        network = LossNetwork(model, autocast=torch.float16 if float16 else None)
        _set_up(model, params, accelerator.device)
        prepared = accelerator.prepare(network, *optimizers)
        self.network: nn.Module = prepared[0]
        self.model: nn.Module = accelerator.unwrap_model(prepared[0]).model
        self.optimizers: list[Optimizer] = list(prepared[1:])
        self.network.train()  # a model that was loaded comes in evaluation mode


def _set_up(model: Any, params: PretrainParams, device: torch.device) -> None:
    if params.gradient_checkpointing:
        model.activation_checkpointing_enable()
    if params.compile:
        if device.type == "cpu":  # compiled, the plain products are faster than torch's fused attention for CPUs
            model.set_attn_implementation("eager")
        model.base_model.compile()
