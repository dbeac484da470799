"""The blockwise loss against the plain one of torch."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel

from forgeline.training.loop.objective import IGNORED
from forgeline.training.pretraining import head_loss as module
from forgeline.training.pretraining.head_loss import draw_labels, has_plain_head, head_loss


def _case(num_rows: int, width: int, vocabulary: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(1, num_rows, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(vocabulary, width, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, vocabulary, (1, num_rows), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = IGNORED
    return hidden, weight, labels


def _plain(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    hidden, weight = (tensor.detach().to(torch.float64, copy=True).requires_grad_() for tensor in (hidden, weight))
    loss = F.cross_entropy((hidden @ weight.t()).flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
    (3 * loss).backward()
    return loss.detach(), hidden.grad, weight.grad


@given(st.integers(1, 40), st.integers(1, 7), st.integers(2, 50), st.integers(0, 99))
def test_loss_and_gradients_are_those_of_the_plain_way(rows: int, width: int, vocabulary: int, seed: int) -> None:
    hidden, weight, labels = _case(rows, width, vocabulary, seed)
    expected = _plain(hidden, weight, labels)
    ours, ours_weight = hidden.float().requires_grad_(), weight.float().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_NUMBERS", 1)
        patch.setattr(module, "_LEAST_ROWS", 7)  # blocks that do not divide the rows
        patch.setattr(module, "_STRIP_NUMBERS", 3 * vocabulary)  # nor strips a block
        loss = head_loss(ours, ours_weight, labels)
    (3 * loss).backward()
    torch.testing.assert_close(loss.double(), expected[0], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(ours.grad.double(), expected[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours_weight.grad.double(), expected[2], rtol=1e-4, atol=1e-4)


def test_products_in_bfloat16_leave_the_loss_exact() -> None:
    hidden, weight, labels = _case(300, 64, 1000, 0)
    hidden, weight = (hidden * 0.3).bfloat16(), (weight * 0.3).bfloat16()
    expected, expected_hidden, expected_weight = _plain(hidden, weight, labels)
    ours, ours_weight = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    loss = head_loss(ours, ours_weight, labels)
    (3 * loss).backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    for found, exact in ((ours.grad, expected_hidden), (ours_weight.grad, expected_weight)):
        assert (found.double() - exact).norm() / exact.norm() < 5e-3


def test_autocast_multiplies_in_bfloat16_and_gives_gradients_of_float32_weights() -> None:
    hidden, weight, labels = (tensor.float() if tensor.is_floating_point() else tensor for tensor in _case(9, 4, 11, 1))
    weight.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = head_loss(hidden, weight, labels)
    loss.backward()
    expected = head_loss(hidden.bfloat16(), weight.detach().bfloat16(), labels)
    assert (loss.item(), weight.grad.dtype) == (expected.item(), torch.float32)


def test_drawn_labels_are_those_of_the_whole_logits() -> None:
    hidden, weight, labels = (tensor.float() if tensor.is_floating_point() else tensor for tensor in _case(50, 4, 9, 2))
    uniforms = torch.rand(labels.shape, generator=torch.Generator().manual_seed(3))
    drawn = draw_labels(hidden @ weight.t(), labels, uniforms)
    assert head_loss(hidden, weight, labels, uniforms).item() == pytest.approx(
        head_loss(hidden, weight, drawn).item(), rel=1e-6
    )
    assert (drawn == IGNORED).equal(labels == IGNORED)


def test_heads_that_do_more_than_multiply_are_told_apart(tiny_model) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 20, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    capped = Gemma2ForCausalLM(Gemma2Config(**sizes, **heads, final_logit_softcapping=30.0))
    assert has_plain_head(tiny_model(0))
    assert has_plain_head(GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=16, n_layer=1, n_head=2)))
    assert not has_plain_head(capped)
    assert not has_plain_head(torch.nn.Linear(2, 2))
