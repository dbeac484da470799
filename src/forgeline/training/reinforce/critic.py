"""The critic of PPO: what a policy can still expect to earn, told before every token.

It is an adapter of its own on the policy's frozen weights, with a linear head on the last hidden state. Sharing the
policy's adapter as well would save a forward pass, but then the value loss, whose scale follows the rewards', pulls at
the weights that write; a model of its own would cost the memory of the base once more.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn

from forgeline.model.params import ComputeParams
from forgeline.training.loop.optimizers.build import build_optimizers, clip_gradients, set_learning_rate_factor
from forgeline.training.loop.optimizers.params import AdamWParams
from forgeline.training.reinforce.losses import clipped_value_loss
from forgeline.training.reinforce.rollouts import POLICY
from forgeline.training.reinforce.sequences import Group, answer_hidden_states, token_counts

CRITIC = "critic"  # PEFT's name of its adapter


class Critic:
    """Values of answered tokens, and how they learn."""

    def __init__(
        self, model: PeftModel, config: LoraConfig, optimizer: AdamWParams, compute: ComputeParams, seed: int
    ) -> None:
        """Adds the critic's adapter to `model`; at first every value is 0.

        Args:
            model: The policy.
            config: Of the adapter.
            optimizer: Of adapter and head.
            compute: Precision.
            seed: Of the adapter's first weights.
        """
        self._model = model
        self._compute = compute
        base = model.get_base_model()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model.add_adapter(CRITIC, config)
        self._trunk: nn.Module = getattr(base, base.base_model_prefix)
        self._head = nn.Linear(base.get_input_embeddings().weight.size(1), 1, device=base.device)
        nn.init.zeros_(self._head.weight)
        nn.init.zeros_(self._head.bias)
        with self._active():
            learned = [weights for weights in model.parameters() if weights.requires_grad]
        self._parameters = [*learned, *self._head.parameters()]
        with self._active():
            self._optimizers = build_optimizers(optimizer, nn.ModuleList([model, self._head]))

    @contextmanager
    def _active(self) -> Iterator[None]:
        """The critic's adapter in place of the policy's."""
        self._model.set_adapter(CRITIC)
        try:
            yield
        finally:
            self._model.set_adapter(POLICY)

    @torch.no_grad()
    def values(self, groups: Sequence[Group]) -> Tensor:
        """What was expected before every answered token, [answered tokens]."""
        with self._active():
            return self._values(groups)

    def _values(self, groups: Sequence[Group]) -> Tensor:
        values: Tensor = self._head(answer_hidden_states(self._trunk, groups, self._compute)).squeeze(-1)
        return values

    def accumulate(
        self, groups: Sequence[Group], old_values: Tensor, returns: Tensor, clip_range: float, num_tokens: int
    ) -> float:
        """Adds the gradient of the groups' share of a minibatch; returns the loss summed over their tokens."""
        with self._active():
            loss = clipped_value_loss(self._values(groups), old_values, returns, clip_range)
            total = (loss * token_counts(groups, loss.device)).sum()
            torch.autograd.backward(total / num_tokens)
        return float(total.detach())

    def step(self, learning_rate_factor: float, max_grad_norm: float) -> None:
        """One optimizer step on what was accumulated."""
        set_learning_rate_factor(self._optimizers, learning_rate_factor)
        clip_gradients(self._parameters, max_grad_norm)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()

    def state(self) -> dict[str, Any]:
        """Everything that it has learned."""
        return {
            "adapter": get_peft_model_state_dict(self._model, adapter_name=CRITIC),
            "head": self._head.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Takes over what `state` gave."""
        set_peft_model_state_dict(self._model, saved["adapter"], adapter_name=CRITIC)
        self._head.load_state_dict(saved["head"])
        for optimizer, state in zip(self._optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)

    def leave(self) -> None:
        """Takes its adapter off the policy."""
        self._model.delete_adapter(CRITIC)
