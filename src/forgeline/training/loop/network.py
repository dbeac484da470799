"""A language model as training runs it: from token ids straight to the loss, in the precision of the products."""

import copy

import torch
from torch import Tensor, nn

from forgeline.training.loop.head_loss import draw_labels, has_plain_head, head_loss
from forgeline.training.loop.objective import next_token_loss


class LossNetwork(nn.Module):
    """A causal language model whose forward pass ends in the summed next-token loss.

    One module from ids to loss, so that what wraps a module for several processes sees the whole step, and so that
    the logits need not leave it.
    """

    def __init__(self, model: nn.Module, vocabulary: int) -> None:
        super().__init__()
        self.model = model
        self._is_blockwise = has_plain_head(model, vocabulary)

    def forward(self, inputs: Tensor, labels: Tensor, uniforms: Tensor | None = None) -> Tensor:
        """The loss in nats, summed over supervised tokens.

        Args:
            inputs: (batch, time) token ids.
            labels: (batch, time), shifted; -100 is not supervised.
            uniforms: (batch, time): takes labels drawn from the model's own distribution instead (`draw_labels`).
        """
        if self._is_blockwise:
            hidden = self.model.base_model(input_ids=inputs, use_cache=False)[0]  # type: ignore[operator, union-attr]
            return head_loss(hidden, self.model.get_output_embeddings().weight, labels, uniforms)  # type: ignore[operator, union-attr]
        logits = self.model(input_ids=inputs, use_cache=False).logits
        if uniforms is not None:
            labels = draw_labels(logits, labels, uniforms)
        return next_token_loss(logits, labels)[0]


class WorkingCopy:
    """A bfloat16 copy of a model that computes, while the float32 weights, the masters, are what is trained and saved.

    Autocast would convert every weight in every pass, and keep what flows between the layers in float32.

    Attributes:
        model: The copy. Its buffers (rotary frequencies, say) keep their precision.
    """

    def __init__(self, masters: nn.Module) -> None:
        self.model = copy.deepcopy(masters)
        for parameter in self.model.parameters():
            parameter.data = parameter.data.bfloat16()
        pairs = zip(masters.parameters(), self.model.parameters(), strict=True)
        self._pairs = [(master, working) for master, working in pairs if working.requires_grad]

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
