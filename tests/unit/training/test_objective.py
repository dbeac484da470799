import math

import pytest
import torch

from forgeline.core.errors import ForgelineError
from forgeline.training.loop.objective import next_token_loss, require_finite, split_window

LOG2, LOG3 = math.log(2), math.log(3)


def test_inputs_and_labels_are_one_token_apart() -> None:
    inputs, labels = split_window(torch.tensor([[5, 6, 7, 8], [1, 2, 3, 4]]))
    assert inputs.tolist() == [[5, 6, 7], [1, 2, 3]]
    assert labels.tolist() == [[6, 7, 8], [2, 3, 4]]


def test_the_loss_by_hand() -> None:
    logits = torch.tensor([[[0.0, 0.0, 0.0], [LOG2, 0.0, 0.0]], [[0.0, LOG2, 0.0], [0.0, 0.0, 0.0]]])
    labels = torch.tensor([[1, 0], [2, -100]])
    loss, num_tokens = next_token_loss(logits, labels)
    # 1/3, then 2/4, then 1/4, and one that does not count
    assert loss.item() == pytest.approx(LOG3 + LOG2 + 2 * LOG2)
    assert num_tokens == 3


def test_position_t_is_scored_by_label_t_and_not_shifted_again() -> None:
    right = torch.full((1, 3, 4), -20.0)
    labels = torch.tensor([[2, 0, 3]])
    for t, label in enumerate(labels[0].tolist()):
        right[0, t, label] = 20.0
    assert next_token_loss(right, labels)[0].item() == pytest.approx(0.0, abs=1e-6)
    assert next_token_loss(right, labels.roll(1))[0].item() > 100


def test_labels_that_are_not_supervised_carry_no_gradient() -> None:
    logits = torch.randn(2, 3, 5, requires_grad=True)
    loss, num_tokens = next_token_loss(logits, torch.tensor([[-100, 1, -100], [-100, -100, -100]]))
    loss.backward()
    assert num_tokens == 1
    assert logits.grad.abs().sum(-1).ne(0).tolist() == [[False, True, False], [False, False, False]]


def test_nothing_supervised_is_zero_and_not_nan() -> None:
    loss, num_tokens = next_token_loss(torch.randn(1, 2, 3), torch.full((1, 2), -100))
    assert (loss.item(), num_tokens) == (0.0, 0)


def test_bfloat16_logits_are_summed_in_float32() -> None:
    logits = torch.randn(4, 64, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    labels = torch.arange(256).reshape(4, 64) % 50
    loss, _ = next_token_loss(logits, labels)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(next_token_loss(logits.double(), labels)[0].item(), rel=1e-6)


def test_the_mean_equals_the_librarys_loss(tiny_model) -> None:
    model = tiny_model(0)
    windows = torch.randint(0, 300, (3, 12), generator=torch.Generator().manual_seed(1))
    inputs, labels = split_window(windows)
    ignored = labels.clone()
    ignored[0, :5] = -100
    for ours, theirs in ((labels, windows), (ignored, torch.cat([windows[:, :1], ignored], dim=1))):
        loss, num_tokens = next_token_loss(model(input_ids=inputs).logits, ours)
        expected = model(input_ids=windows, labels=theirs).loss  # the library shifts the labels itself
        assert (loss / num_tokens).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_diverged_loss_stops_and_names_the_knobs(loss: float) -> None:
    require_finite(1e30, 6)
    with pytest.raises(ForgelineError, match=f"the loss became {loss} at step 7: lower the learning rate"):
        require_finite(loss, 7)
