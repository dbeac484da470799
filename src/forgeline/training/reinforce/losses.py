"""What the policy and the critic minimize, token by token."""

import torch
from torch import Tensor


def clipped_loss(logps: Tensor, old_logps: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """Loss of each token, or of each answer: -min(r A, clip(r, 1 - ε, 1 + ε) A) with r = exp(logps - old_logps).

    Schulman et al. 2017 (arXiv 1707.06347), eq. 7. All of one shape.
    """
    ratios = torch.exp(logps - old_logps)
    return -torch.minimum(ratios * advantages, ratios.clamp(1 - clip_range, 1 + clip_range) * advantages)


def is_clipped(logps: Tensor, old_logps: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """Where clipping stops the gradient of `clipped_loss`: the ratio has left the range on the advantage's side."""
    ratios = torch.exp(logps - old_logps)
    return ((ratios > 1 + clip_range) & (advantages > 0)) | ((ratios < 1 - clip_range) & (advantages < 0))


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip_range: float) -> Tensor:
    """Loss of each value: max((V - R)^2, (clip(V, V_old - ε, V_old + ε) - R)^2) / 2.

    As in the code of Schulman et al. 2017; Huang et al. 2024 (arXiv 2403.17031), detail 10.
    """
    held = torch.clamp(values, old_values - clip_range, old_values + clip_range)
    return torch.maximum((values - returns) ** 2, (held - returns) ** 2) / 2


def k3_divergence(logps: Tensor, reference_logps: Tensor) -> Tensor:
    """Estimate of KL(π ‖ π_ref) of each token from a sample of π: exp(d) - d - 1 with d = log π_ref - log π.

    Unbiased and never negative (Schulman 2020, "k3"; Shao et al. 2024, eq. 4).
    """
    difference = reference_logps - logps
    return torch.exp(difference) - difference - 1


def reverse_divergence(log_probabilities: Tensor, teacher: Tensor) -> Tensor:
    """KL(π ‖ π_teacher) of each token, over the whole vocabulary: sum_v π(v) (log π(v) - log π_teacher(v)).

    Agarwal et al. 2023 (arXiv 2306.13649), eq. 1 with the divergence of section 3: exact for each token, so nothing has
    to be estimated from the sampled one; the gradient does not flow through the sampling (their section 3.1).

    Args:
        log_probabilities: Of the student, [tokens, vocabulary].
        teacher: The same of the teacher.
    """
    return (log_probabilities.exp() * (log_probabilities - teacher)).sum(dim=-1)


def answer_sums(values: Tensor, lengths: Tensor) -> Tensor:
    """Sums over the tokens of each answer [answers], from values of all tokens, answer after answer."""
    answers = torch.arange(len(lengths), device=values.device).repeat_interleave(lengths.to(values.device))
    return torch.zeros(len(lengths), dtype=values.dtype, device=values.device).index_add(0, answers, values)
