"""Next-token loss straight from hidden states: the logits of all tokens are never in memory together.

With a vocabulary of 32,768, logits of 4,096 tokens take 512 MiB in float32, several times what the rest of a 23M model
needs. Here a block of rows goes through the head, the softmax and back before the next one, so the gradients are ready
when the forward pass ends. It costs the same three matrix products as the plain way and less memory traffic
(docs/lab-notebook.md); the sums are in float32 whatever the products are in.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel

from forgeline.training.loop.objective import IGNORED

# Numbers in a block of logits: 64 MiB in float32. Blocks of few rows would pay more for adding up the head's gradient.
_BLOCK_NUMBERS = 1 << 24
_LEAST_ROWS = 256


def head_loss(hidden: Tensor, weight: Tensor, labels: Tensor, uniforms: Tensor | None = None) -> Tensor:
    """Summed cross-entropy in nats of `hidden @ weight.T` against labels.

    Args:
        hidden: (batch, time, width); position t scores the token that follows input t.
        weight: (vocabulary, width) of an output head without bias.
        labels: (batch, time), already shifted; -100 is not supervised.
        uniforms: (batch, time) in [0, 1): takes labels drawn from the model's own distribution in place of the true
            ones, with a number for each (`draw_labels`).
    """
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    flat = None if uniforms is None else uniforms.to(hidden.device).reshape(-1)
    loss: Tensor = _HeadLoss.apply(  # type: ignore[no-untyped-call]
        hidden.reshape(-1, hidden.size(-1)), weight, labels.reshape(-1), flat
    )
    return loss


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, uniforms: Tensor | None) -> Tensor:
        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        loss = torch.zeros((), device=hidden.device)
        hidden_grad = torch.empty_like(hidden) if wanted else None
        weight_grad = torch.zeros(weight.shape, device=weight.device) if wanted else None
        size = max(_LEAST_ROWS, _BLOCK_NUMBERS // weight.size(0))
        for start in range(0, len(hidden), size):
            rows = slice(start, start + size)
            logits = hidden[rows] @ weight.t()
            drawn = labels[rows] if uniforms is None else draw_labels(logits, labels[rows], uniforms[rows])
            block_loss, slope = _softmax_loss(logits, drawn, wanted)
            loss += block_loss
            if hidden_grad is not None and weight_grad is not None:
                slope = slope.to(weight.dtype)
                torch.mm(slope, weight, out=hidden_grad[rows])
                weight_grad += slope.t() @ hidden[rows]
        ctx.save_for_backward(hidden_grad, None if weight_grad is None else weight_grad.to(weight.dtype))
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden_grad, weight_grad = ctx.saved_tensors
        return hidden_grad * slope, weight_grad * slope, None, None


def _softmax_loss(logits: Tensor, labels: Tensor, wanted: bool) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy, and its derivative by the logits if wanted; may write over `logits`."""
    supervised = (labels != IGNORED)[:, None]
    chosen = labels.clamp(min=0)[:, None]
    exponents = logits.float()
    largest = exponents.amax(dim=1, keepdim=True)
    true = exponents.gather(1, chosen)
    exponents = exponents.sub_(largest).exp_()
    total = exponents.sum(dim=1, keepdim=True)
    losses = total.log() + largest - true
    if wanted:
        exponents.mul_(supervised / total).scatter_add_(1, chosen, -supervised.to(exponents.dtype))
    return torch.where(supervised, losses, 0.0).sum(), exponents


@torch.no_grad()
def draw_labels(logits: Tensor, labels: Tensor, uniforms: Tensor) -> Tensor:
    """Labels drawn from the model's own distribution in place of the true ones.

    Args:
        logits: (..., vocabulary).
        labels: (...); where they are -100 (not supervised), so are the drawn ones.
        uniforms: (...) in [0, 1), a number for each label.
    """
    cumulative = logits.float().softmax(dim=-1).cumsum(dim=-1)
    total = cumulative[..., -1:]  # short of 1 by rounding
    drawn = torch.searchsorted(cumulative, uniforms.to(logits.device)[..., None] * total, right=True).squeeze(-1)
    return torch.where(labels == IGNORED, IGNORED, drawn.clamp_(max=logits.size(-1) - 1))


def has_plain_head(model: nn.Module) -> bool:
    """Whether the model's logits are the product of its body's last hidden states and its head's weight, nothing else.

    Some families scale or cap their logits, or add a bias. Rather than by a list of names they are told by putting
    eight tokens through both ways. Models in PEFT's wrapper go the plain way.
    """
    if not isinstance(model, PreTrainedModel):
        return False
    body, head = model.base_model, model.get_output_embeddings()
    if body is model or type(head) is not nn.Linear or head.bias is not None:
        return False
    device = head.weight.device
    ids = torch.arange(8, device=device)[None, :] % head.out_features
    was_training = model.training
    model.eval()
    with torch.no_grad():
        expected = model(input_ids=ids, use_cache=False).logits
        found = body(input_ids=ids, use_cache=False)[0] @ head.weight.t()
    model.train(was_training)
    return expected.shape == found.shape and torch.allclose(expected.float(), found.float(), rtol=1e-4, atol=1e-4)
