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

from forgeline.model.batches import evaluation_mode
from forgeline.training.loop.objective import IGNORED

# Numbers in a block of logits, 32 MiB in bfloat16: blocks of few rows would pay more for adding up the head's gradient.
_BLOCK_NUMBERS = 1 << 24
# Numbers in a strip of a block, whose softmax is in float32: few enough for the processor's cache.
_STRIP_NUMBERS = 1 << 21
_LEAST_ROWS = 256
_PROBE_LOGIT = 1000.0


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
    """Loss and gradients, block by block in the same few buffers: freeing and taking them anew would scatter memory."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, uniforms: Tensor | None) -> Tensor:
        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        loss = torch.zeros((), device=hidden.device)
        hidden_grad, weight_grad = torch.empty_like(hidden), torch.zeros(weight.shape, device=weight.device)
        product = torch.empty_like(weight)
        vocabulary = weight.size(0)
        size = min(len(hidden), max(_LEAST_ROWS, _BLOCK_NUMBERS // vocabulary))
        logits_buffer = hidden.new_empty(size, vocabulary)
        strip_rows = min(size, max(1, _STRIP_NUMBERS // vocabulary))
        strip_buffer = hidden.new_empty(strip_rows, vocabulary, dtype=torch.float32)
        for start in range(0, len(hidden), size):
            rows = slice(start, min(start + size, len(hidden)))
            logits = torch.mm(hidden[rows], weight.t(), out=logits_buffer[: rows.stop - start])
            drawn = labels[rows] if uniforms is None else draw_labels(logits, labels[rows], uniforms[rows])
            for first in range(0, len(logits), len(strip_buffer)):
                strip = logits[first : first + len(strip_buffer)]
                loss += _softmax_loss(strip, drawn[first : first + len(strip)], strip_buffer[: len(strip)])
            if wanted:  # the logits are their derivative now
                torch.mm(logits, weight, out=hidden_grad[rows])
                weight_grad += torch.mm(logits.t(), hidden[rows], out=product)
        if wanted:
            ctx.save_for_backward(hidden_grad, product.copy_(weight_grad))
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden_grad, weight_grad = ctx.saved_tensors
        return hidden_grad * slope, weight_grad * slope, None, None


def _softmax_loss(logits: Tensor, labels: Tensor, buffer: Tensor) -> Tensor:
    """Summed cross-entropy; its derivative by the logits is written over them. `buffer` is room in float32."""
    supervised = (labels != IGNORED)[:, None]
    chosen = labels.clamp(min=0)[:, None]
    buffer.copy_(logits)
    largest, true = buffer.amax(dim=1, keepdim=True), buffer.gather(1, chosen)
    total = buffer.sub_(largest).exp_().sum(dim=1, keepdim=True)
    losses = total.log() + largest - true
    logits.copy_(buffer.mul_(supervised / total).scatter_add_(1, chosen, -supervised.to(buffer.dtype)))
    return torch.where(supervised, losses, 0.0).sum()


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

    Some families scale or cap their logits, or add a bias. Rather than by a list of names they are told by trying: the
    body's output is replaced by one so large that a cap shows. Models in PEFT's wrapper go the plain way.
    """
    if not isinstance(model, PreTrainedModel):
        return False
    body, head = model.base_model, model.get_output_embeddings()
    if body is model or type(head) is not nn.Linear or head.bias is not None:
        return False
    weight = head.weight.detach()
    probe = torch.linspace(-1.0, 1.0, 2 * weight.size(1), device=weight.device, dtype=weight.dtype).view(1, 2, -1)
    probe *= _PROBE_LOGIT / (probe @ weight.t()).abs().max().clamp(min=1e-12)
    handle = body.register_forward_hook(lambda _module, _inputs, output: _with_hidden(output, probe))
    try:
        with torch.no_grad(), evaluation_mode(model):
            logits = model(
                input_ids=torch.zeros((1, 2), dtype=torch.long, device=weight.device), use_cache=False
            ).logits
    finally:
        handle.remove()
    expected = probe @ weight.t()
    return logits.shape == expected.shape and torch.allclose(logits, expected, rtol=1e-3, atol=1e-3 * _PROBE_LOGIT)


def _with_hidden(output: Any, hidden: Tensor) -> Any:
    output["last_hidden_state"] = hidden
    return output
