"""Every formula against numbers worked out by hand, and the losses against TRL's."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.training.policies import policy_params

from forgeline.training.reinforce.advantages import (
    explained_variance,
    generalized_advantages,
    group_advantages,
    leave_one_out_advantages,
    penalized_rewards,
    whitened,
)
from forgeline.training.reinforce.losses import (
    answer_sums,
    clipped_loss,
    clipped_value_loss,
    is_clipped,
    k3_divergence,
    reverse_divergence,
)
from forgeline.training.reinforce.methods import Experience, Grpo, Ppo, Rloo, Tokens
from forgeline.training.reinforce.sequences import Answer, Group
from forgeline.training.rewards import length_reward


def close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found.double(), torch.tensor(expected).double(), rtol=tolerance, atol=tolerance)


def test_group_advantages_by_hand():
    # mean 0.25, deviations -0.25 -0.25 0.75 -0.25, population std sqrt(0.75 / 4) = 0.4330
    rewards = torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.1, 0.1, 0.1, 0.1]], dtype=torch.float64)
    close(group_advantages(rewards), [[-0.57735, -0.57735, 1.73205, -0.57735], [0.0, 0.0, 0.0, 0.0]])


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.floats(-5, 5), st.floats(0.5, 4))
def test_group_advantages_ignore_shift_and_scale(rewards, shift, scale):
    one = torch.tensor([rewards], dtype=torch.float64)
    if one.std() < 1e-2:
        return
    torch.testing.assert_close(group_advantages(one), group_advantages(one * scale + shift), rtol=1e-3, atol=1e-3)


def test_leave_one_out_advantages_by_hand():
    # of 1, 2, 6 the others' means are 4, 3.5, 1.5
    close(leave_one_out_advantages(torch.tensor([[1.0, 2.0, 6.0]])), [[-3.0, -1.5, 4.5]])


def test_the_price_of_leaving_the_reference_by_hand():
    logps, reference = torch.tensor([-1.0, -2.0, -0.5]), torch.tensor([-1.5, -1.0, -0.5])
    # -0.1 x (0.5, -1, 0), and the answer's 2 at its end
    close(penalized_rewards(logps, reference, torch.tensor(2.0), 0.1), [-0.05, 0.1, 2.0])


def test_generalized_advantages_by_hand():
    rewards, values = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.2, 0.4, 0.6])
    # with gamma 0.9, lambda 0.5: errors 0.9 x 0.4 - 0.2 = 0.16, 0.5 + 0.54 - 0.4 = 0.64, 1 - 0.6 = 0.4
    # A_3 = 0.4, A_2 = 0.64 + 0.45 x 0.4 = 0.82, A_1 = 0.16 + 0.45 x 0.82 = 0.529
    close(generalized_advantages(rewards, values, 0.9, 0.5), [0.529, 0.82, 0.4])


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=6), st.lists(st.floats(-2, 2), min_size=6, max_size=6))
def test_with_lambda_1_the_return_is_what_was_earned(rewards, values):
    earned = torch.tensor(rewards, dtype=torch.float64)
    expected = torch.tensor(values[: len(rewards)], dtype=torch.float64)
    returns = generalized_advantages(earned, expected, 1.0, 1.0) + expected
    torch.testing.assert_close(returns, earned.flip(0).cumsum(0).flip(0))


def test_whitening_counts_copies():
    values, counts = torch.tensor([3.0, 0.0]), torch.tensor([1.0, 3.0])
    # mean 0.75, variance (2.25^2 + 3 x 0.75^2) / 4 = 1.6875
    close(whitened(values, counts), [1.73205, -0.57735])


def test_explained_variance_by_hand():
    returns, counts = torch.tensor([0.0, 1.0, 2.0]), torch.ones(3)
    assert explained_variance(returns, returns, counts) == pytest.approx(1)
    assert explained_variance(torch.zeros(3), returns, counts) == pytest.approx(0)
    # returns less values are 0, 0, 1: variance 2/9 of 2/3
    assert explained_variance(torch.tensor([0.0, 1.0, 1.0]), returns, counts) == pytest.approx(2 / 3)
    assert explained_variance(returns, torch.ones(3), counts) == 0


def test_clipped_loss_by_hand():
    # ratios 1.5, 1.5, 0.5, 0.5, 1.1 with clip range 0.2
    logps = torch.log(torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1]))
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    close(clipped_loss(logps, torch.zeros(5), advantages, 0.2), [-1.2, 1.5, -0.5, 0.8, -2.2])
    assert is_clipped(logps, torch.zeros(5), advantages, 0.2).tolist() == [True, False, False, True, False]


def test_clipping_stops_exactly_the_gradients_it_says():
    logps = torch.log(torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1])).requires_grad_()
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    clipped_loss(logps, torch.zeros(5), advantages, 0.2).sum().backward()
    assert ((logps.grad == 0) == is_clipped(logps, torch.zeros(5), advantages, 0.2)).all()


def test_clipped_value_loss_by_hand():
    values, old, returns = torch.tensor([1.0, 1.0, 0.1]), torch.zeros(3), torch.tensor([1.0, 0.0, 0.3])
    # held at 0.2, 0.2, 0.1: squares max(0, 0.64), max(1, 0.04), 0.04, halved
    close(clipped_value_loss(values, old, returns, 0.2), [0.32, 0.5, 0.02])


def test_k3_divergence_by_hand():
    # d = log 2: 2 - 0.6931 - 1; d = 0: 0; d = -log 2: 0.5 + 0.6931 - 1
    logps, reference = torch.zeros(3), torch.tensor([math.log(2), 0.0, -math.log(2)])
    close(k3_divergence(logps, reference), [0.306853, 0.0, 0.193147])


def test_k3_divergence_is_an_unbiased_estimate_of_kl():
    policy, reference = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.3, 0.3, 0.4])
    estimate = (policy * k3_divergence(policy.log(), reference.log())).sum()  # its expectation under the policy
    torch.testing.assert_close(estimate, (policy * (policy / reference).log()).sum())


def test_reverse_divergence_by_hand_and_by_trl(monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from trl.experimental.gkd.gkd_trainer import GKDTrainer

    student, teacher = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
    # 0.5 log 2 + 0.5 log(2/3)
    close(reverse_divergence(student.log(), teacher.log()), [0.143841])
    torch.manual_seed(1)
    logits, others = torch.randn(2, 3, 11), torch.randn(2, 3, 11)
    expected = GKDTrainer.generalized_jsd_loss(logits, others, beta=1, temperature=0.7, reduction="sum")
    ours, theirs = ((values / 0.7).log_softmax(-1).flatten(0, 1) for values in (logits, others))
    found = reverse_divergence(ours, theirs)
    torch.testing.assert_close(found.sum(), expected)


def test_answer_sums_by_hand():
    close(answer_sums(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1, 3])), [1.0, 9.0])


def test_length_reward_by_hand():
    assert [length_reward(n, 10, 20) for n in (1, 10, 15, 20, 25)] == [1, 1, 0.5, 0, 0]


GROUPS = [
    Group((2, 5), [Answer((7, 3), 1.0, 2), Answer((8, 9, 3), 0.0, 1)]),
    Group((2,), [Answer((4,), 0.5, 3)]),
]


def experience(old, reference, values=()):
    return Experience(GROUPS, [torch.tensor(x) for x in old], [torch.tensor(x) for x in reference],
                      [torch.tensor(x) for x in values])  # fmt: skip


def test_rloo_rewards_whole_answers_by_hand():
    method = Rloo(policy_params("rloo", kl_coefficient=0.1))
    # log-ratios sum to 1 and -2, so the answers earn 0.9, 0.9 and 0.2; others' means 0.55 and 0.9
    old, reference = [[-1.0, -1.0, -1.0, -1.0, -1.0], [-1.0]], [[-1.5, -1.5, -1.0, 0.0, 0.0], [-1.0]]
    first, second = method.advantages(experience(old, reference))
    close(first, [0.35, 0.35, -0.7, -0.7, -0.7])
    close(second, [0.0])


def test_ppo_advantages_by_hand():
    method = Ppo(policy_params("ppo", kl_coefficient=0.1, gamma=1.0, gae_lambda=0.5, whiten_advantages=False))
    old, reference = [[-1.0, -1.0, -1.0, -1.0, -1.0], [-1.0]], [[-1.5, -1.5, -1.0, 0.0, 0.0], [-1.0]]
    values = [[0.0, 0.5, 0.0, 0.0, 0.0], [0.2]]
    # first answer: rewards -0.05, 0.95; errors -0.05 + 0.5 = 0.45, 0.45; A = 0.45 + 0.225, 0.45
    # second: rewards 0, 0.1, 0.1; A_3 = 0.1, A_2 = 0.15, A_1 = 0.075; last: 0.5 - 0.2
    first, second = method.advantages(experience(old, reference, values))
    close(first, [0.675, 0.45, 0.075, 0.15, 0.1])
    close(second, [0.3])


class _Accelerator:
    num_processes = 1

    def gather(self, values):
        return values

    def gather_for_metrics(self, values):
        return values

    def reduce(self, values, reduction):
        return values


def _trl(kind, logps, mask, **knobs):
    """TRL's loss on given log-probabilities, without a model or a trainer around it."""
    from collections import defaultdict

    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (logps, torch.zeros_like(logps), None),
        accelerator=_Accelerator(),
        model=SimpleNamespace(training=True),
        _metrics={"train": defaultdict(list)},
        aux_loss_enabled=False,
        _entropy_bonus_enabled=False,
        epsilon_low=0.2,
        epsilon_high=0.2,
        current_gradient_accumulation_steps=1,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level="token",
        use_vllm=False,
        loss_type="bnpo",
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None),
        **knobs,
    )
    empty = torch.zeros((len(logps), 1), dtype=torch.long)
    inputs = {"prompt_ids": empty, "prompt_mask": empty, "completion_ids": mask.long(), "completion_mask": mask}
    return lambda **more: kind._compute_loss(trainer, None, {**inputs, **more})


@pytest.fixture
def padded():
    """Four sampled answers of 2, 2, 3 and 1 tokens; the first two are equal, as in the first of GROUPS."""
    torch.manual_seed(4)
    groups = [GROUPS[0], Group((2,), [Answer((4,), 0.5, 1)])]
    mask = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0]])
    rows = {name: -torch.rand(4, 3) * 2 for name in ("logps", "old", "reference")}
    for values in rows.values():
        values[1] = values[0]
    advantages = torch.tensor([0.7, 0.7, -1.4, 0.3])
    flat = {name: values[[0, 2, 3]][mask[[0, 2, 3]].bool()] for name, values in rows.items()}
    spread = advantages[[0, 2, 3]].repeat_interleave(torch.tensor([2, 3, 1]))
    counts = torch.tensor([2.0, 2, 1, 1, 1, 1])
    tokens = Tokens(groups, flat["logps"][:, None], flat["logps"], flat["old"], flat["reference"], spread, counts)
    return groups, mask, rows, advantages, tokens


def test_the_grpo_loss_is_trls(padded):
    from trl import GRPOTrainer

    groups, mask, rows, advantages, tokens = padded
    method = Grpo(policy_params(kl_coefficient=0.3))
    loss = method.loss(tokens)[0] / method.num_units(groups)
    theirs = _trl(GRPOTrainer, rows["logps"], mask, beta=0.3)
    expected = theirs(advantages=advantages, old_per_token_logps=rows["old"], ref_per_token_logps=rows["reference"])
    torch.testing.assert_close(loss, expected)


def test_the_rloo_loss_is_trls(padded):
    from trl import RLOOTrainer

    groups, mask, rows, advantages, tokens = padded
    method = Rloo(policy_params("rloo"))
    loss = method.loss(tokens)[0] / method.num_units(groups)
    theirs = _trl(RLOOTrainer, rows["logps"], mask)
    torch.testing.assert_close(loss, theirs(advantages=advantages, old_logps=(rows["old"] * mask).sum(1)))
