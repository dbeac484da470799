"""Sophia's step against a library and by hand; its Hessian estimate against the exact Gauss-Newton diagonal."""

import pytest
import torch
from torch import Tensor, nn

from forgeline.training.loop.objective import IGNORED, next_token_loss
from forgeline.training.loop.optimizers.sophia import Sophia, label_uniforms
from forgeline.training.pretraining.head_loss import draw_labels


def sophia(parameters: list[nn.Parameter], **changed: float) -> Sophia:
    knobs = {"learning_rate": 0.1, "betas": (0.9, 0.75), "gamma": 0.5, "epsilon": 1e-12, "hessian_every_steps": 2}
    return Sophia([{"params": parameters, "weight_decay": 0.0}], **{**knobs, **changed})


def test_two_steps_by_hand() -> None:
    """Liu et al. 2023, algorithm 3, with an estimate before the first step only; one entry is clipped, one is not."""
    weight = nn.Parameter(torch.tensor([2.0, 2.0]))
    optimizer = Sophia([{"params": [weight], "weight_decay": 0.5}], 0.1, (0.9, 0.75), 0.5, 1e-12, 2)
    weight.grad = torch.tensor([0.1, 1.0])
    optimizer.update_hessian(num_labels=8)  # h = 0.25 * 8 * g^2 = 0.02 and 2
    for gradient in ([3.0, 3.0], [-1.0, -1.0]):
        weight.grad = torch.tensor(gradient)
        optimizer.step()
    # m = 0.3, then 0.17; over gamma h = 0.01 and 1
    clipped = (2.0 * 0.95 - 0.1) * 0.95 - 0.1
    free = (2.0 * 0.95 - 0.1 * 0.3) * 0.95 - 0.1 * 0.17
    assert weight.tolist() == pytest.approx([clipped, free])


def test_it_walks_as_the_one_of_pytorch_optimizer() -> None:
    from pytorch_optimizer import SophiaH

    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 6)) for _ in range(2))
    gamma, rate, epsilon = 0.2, 0.03, 1e-3
    mine = Sophia([{"params": [ours], "weight_decay": 0.1}], rate, (0.96, 0.99), gamma, epsilon, 3)
    # It divides by max(h, eps) and clips at p: that is our step with gamma in the rate, p, eps and the decay.
    library = SophiaH(
        [theirs], rate / gamma, (0.96, 0.99), 0.1 * gamma, p=gamma, update_period=10**9, eps=epsilon / gamma
    )
    generator = torch.Generator().manual_seed(2)
    for step in range(12):
        estimate = None
        if mine.needs_hessian(step):
            ours.grad = torch.randn(6, generator=generator)
            mine.update_hessian(num_labels=5)
            estimate = [5 * ours.grad.square()]
        ours.grad = theirs.grad = torch.randn(6, generator=generator)
        mine.step()
        library.step(hessian=estimate)
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-7), step


def test_a_negligible_hessian_gives_a_step_by_the_sign() -> None:
    weight = nn.Parameter(torch.zeros(3))
    optimizer = sophia([weight])
    weight.grad = torch.tensor([1e-6, -1.0, 0.0])
    optimizer.step()  # no estimate yet
    assert weight.tolist() == pytest.approx([-0.1, 0.1, 0.0])


def test_the_hessian_is_asked_for_at_the_first_step_and_then_every_so_many() -> None:
    optimizer = sophia([nn.Parameter(torch.zeros(1))], hessian_every_steps=3)
    assert [step for step in range(8) if optimizer.needs_hessian(step)] == [0, 3, 6]


class TestEstimate:
    """A linear softmax classifier, whose Hessian is its Gauss-Newton matrix, so that autograd can say what is right."""

    num_inputs, num_classes, num_examples = 3, 4, 5

    @pytest.fixture
    def inputs(self) -> Tensor:
        return torch.randn(1, self.num_examples, self.num_inputs, generator=torch.Generator().manual_seed(3))

    @pytest.fixture
    def weight(self) -> nn.Parameter:
        return nn.Parameter(torch.randn(self.num_inputs, self.num_classes, generator=torch.Generator().manual_seed(4)))

    def test_its_mean_is_the_hessians_diagonal(self, inputs: Tensor, weight: nn.Parameter) -> None:
        labels = torch.zeros(1, self.num_examples, dtype=torch.long)  # the Hessian does not depend on them

        def mean_loss(value: Tensor) -> Tensor:
            return next_token_loss(inputs @ value, labels)[0] / self.num_examples

        size = self.num_inputs * self.num_classes
        hessian = torch.autograd.functional.hessian(mean_loss, weight.detach()).reshape(size, size)
        optimizer = sophia([weight], betas=(0.9, 0.0))  # keeps the newest estimate alone
        estimates = []
        for step in range(4000):
            weight.grad = None
            logits = inputs @ weight
            drawn = draw_labels(logits, labels, label_uniforms(5, step, (1, self.num_examples)))
            (next_token_loss(logits, drawn)[0] / self.num_examples).backward()
            optimizer.update_hessian(num_labels=self.num_examples)
            estimates.append(optimizer.state[weight]["hessian"].flatten().clone())
        found = torch.stack(estimates)
        error = found.std(dim=0) / len(found) ** 0.5
        assert ((found.mean(dim=0) - hessian.diagonal()).abs() < 4 * error).all()
        assert (hessian.diagonal() > 8 * error).all()  # so that twice or half the value would not pass


class TestDrawnLabels:
    def test_they_follow_the_models_distribution(self) -> None:
        probabilities = torch.tensor([0.5, 0.25, 0.2, 0.05, 0.0])
        logits = probabilities.log().expand(1, 20_000, 5)
        drawn = draw_labels(logits, torch.zeros(1, 20_000, dtype=torch.long), label_uniforms(0, 0, (1, 20_000)))
        shares = torch.bincount(drawn.flatten(), minlength=5) / 20_000
        assert torch.allclose(shares, probabilities, atol=0.015)  # four standard errors of the largest
        assert shares[4] == 0

    def test_they_are_the_inverse_of_the_cumulative_distribution(self) -> None:
        logits = torch.tensor([0.25, 0.5, 0.25]).log().expand(1, 6, 3)
        uniforms = torch.tensor([[0.0, 0.2, 0.3, 0.7, 0.8, 0.99999994]])
        drawn = draw_labels(logits, torch.zeros(1, 6, dtype=torch.long), uniforms)
        assert drawn.tolist() == [[0, 0, 1, 1, 2, 2]]

    def test_what_has_no_probability_is_not_drawn(self) -> None:
        logits = torch.tensor([0.0, 1.0, 0.0]).log().expand(1, 2, 3)
        drawn = draw_labels(logits, torch.zeros(1, 2, dtype=torch.long), torch.tensor([[0.0, 0.99999994]]))
        assert drawn.tolist() == [[1, 1]]

    def test_what_is_not_supervised_stays_so(self) -> None:
        labels = torch.tensor([[1, IGNORED, 0]])
        drawn = draw_labels(torch.zeros(1, 3, 2), labels, torch.full((1, 3), 0.9))
        assert drawn.tolist() == [[1, IGNORED, 1]]

    def test_their_numbers_depend_on_seed_and_step_alone(self) -> None:
        first = label_uniforms(1, 2, (2, 3))
        assert torch.equal(first, label_uniforms(1, 2, (2, 3)))
        assert torch.equal(first.flatten(), label_uniforms(1, 2, (6,)))  # however the step is cut
        assert not torch.equal(first, label_uniforms(1, 3, (2, 3)))
        assert not torch.equal(first, label_uniforms(2, 2, (2, 3)))
