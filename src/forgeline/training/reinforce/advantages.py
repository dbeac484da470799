"""How much better an answer, or a token of it, was than expected: where GRPO, RLOO and PPO differ."""

import torch
from torch import Tensor

_EPSILON = 1e-6  # beside a standard deviation, which makes the advantages of equal rewards 0


def group_advantages(rewards: Tensor) -> Tensor:
    """How each answer compares with the others to its prompt: A_i = (r_i - mean(r)) / std(r).

    Shao et al. 2024 (DeepSeekMath, arXiv 2402.03300), section 4.1.2. The standard deviation is that of the group
    (divided by its size).

    Args:
        rewards: [prompts, group_size].
    """
    centered = rewards - rewards.mean(dim=1, keepdim=True)
    return centered / (rewards.std(dim=1, keepdim=True, unbiased=False) + _EPSILON)


def leave_one_out_advantages(rewards: Tensor) -> Tensor:
    """How each answer compares with the mean of the others to its prompt: A_i = r_i - sum_{j != i} r_j / (k - 1).

    Ahmadian et al. 2024 (arXiv 2402.14740), section 2.3: unbiased, as the baseline does not depend on the answer.

    Args:
        rewards: [prompts, group_size], the price of leaving the reference already taken off.
    """
    others = (rewards.sum(dim=1, keepdim=True) - rewards) / (rewards.size(1) - 1)
    return rewards - others


def penalized_rewards(logps: Tensor, reference_logps: Tensor, rewards: Tensor, kl_coefficient: float) -> Tensor:
    """Reward of each token of one answer [T]: -β (log π - log π_ref), and at the last token the answer's reward too.

    Ziegler et al. 2019 (arXiv 1909.08593), eq. 2; summed over the answer it is the reward of RLOO.

    Args:
        logps: Of the answered tokens at sampling, [T].
        reference_logps: The same by the reference, [T].
        rewards: What the whole answer earned, [].
        kl_coefficient: β.
    """
    result = -kl_coefficient * (logps - reference_logps)
    result[-1] += rewards
    return result


def generalized_advantages(rewards: Tensor, values: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """Advantage of each token of one answer [T]: A_t = δ_t + gamma λ A_{t+1}, δ_t = r_t + gamma V_{t+1} - V_t.

    Schulman et al. 2016 (arXiv 1506.02438), eq. 11 and 16. After the last token comes nothing: its next value is 0,
    for an answer that was cut too.

    Args:
        rewards: Of each token, [T].
        values: What the critic expected before each token, [T].
        gamma: Discount of later rewards.
        gae_lambda: λ, between one-step and whole-answer estimates.
    """
    following = torch.cat([values[1:], values.new_zeros(1)])
    errors = rewards + gamma * following - values
    result = torch.empty_like(errors)
    later = errors.new_zeros(())
    for position in range(len(errors) - 1, -1, -1):
        later = errors[position] + gamma * gae_lambda * later
        result[position] = later
    return result


def whitened(values: Tensor, counts: Tensor) -> Tensor:
    """The values with mean 0 and variance 1, each counted as often as it was sampled (Huang et al. 2024, detail 5)."""
    total = counts.sum()
    mean = (values * counts).sum() / total
    variance = ((values - mean) ** 2 * counts).sum() / total
    return (values - mean) / (variance.sqrt() + _EPSILON)


def explained_variance(values: Tensor, returns: Tensor, counts: Tensor) -> float:
    """Share of the returns' variance that the critic foresaw: 1 - Var(R - V) / Var(R); 0 where all are equal."""
    total = counts.sum()

    def variance(x: Tensor) -> float:
        mean = (x * counts).sum() / total
        return float(((x - mean) ** 2 * counts).sum() / total)

    spread = variance(returns)
    return 1 - variance(returns - values) / spread if spread > 0 else 0.0
