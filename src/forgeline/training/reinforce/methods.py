"""GRPO, RLOO, PPO and distillation as what they differ in: the advantage of a token, and what is minimized with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from forgeline.model.params import ComputeParams
from forgeline.training.params.reinforce import DistillParams, GrpoParams, MethodParams, PpoParams, RlooParams
from forgeline.training.reinforce.advantages import (
    generalized_advantages,
    group_advantages,
    leave_one_out_advantages,
    penalized_rewards,
    whitened,
)
from forgeline.training.reinforce.losses import (
    answer_sums,
    clipped_loss,
    is_clipped,
    k3_divergence,
    reverse_divergence,
)
from forgeline.training.reinforce.sequences import Group, answer_log_probabilities, token_counts


@dataclass(frozen=True)
class Experience:
    """The rollouts of a step as the policy, the reference and the critic saw them before the first update.

    Attributes:
        groups: Prompts with answers and what those earned.
        old_logps: Of the answered tokens of each group by the policy that sampled them; None where nobody asks.
        reference_logps: The same by the reference.
        values: The same by the critic; empty without one.
    """

    groups: list[Group]
    old_logps: list[Tensor | None]
    reference_logps: list[Tensor]
    values: list[Tensor]


@dataclass(frozen=True)
class Tokens:
    """The answered tokens of some groups in an update, each tensor [tokens] unless said otherwise."""

    groups: Sequence[Group]
    log_probabilities: Tensor  # [tokens, vocabulary], with a gradient
    logps: Tensor  # of the tokens that were sampled, with a gradient
    old_logps: Tensor
    reference_logps: Tensor
    advantages: Tensor
    counts: Tensor

    @property
    def lengths(self) -> Tensor:
        """Tokens of each answer [answers]."""
        return torch.tensor([length for group in self.groups for length in group.lengths])

    @property
    def answer_counts(self) -> Tensor:
        """How often each answer was sampled [answers]."""
        return torch.tensor([count for group in self.groups for count in group.counts], device=self.logps.device)


class Method(Protocol):
    """What makes the shared loop one method or another.

    Attributes:
        needs_old_logps: Whether advantages are made from the sampler's log-probabilities.
    """

    needs_old_logps: bool

    def advantages(self, experience: Experience) -> list[Tensor]:
        """Of every answered token of each group."""

    def loss(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Summed loss, and how many units of it were clipped; a unit is a token, or an answer with RLOO."""

    def num_units(self, groups: Sequence[Group]) -> int:
        """What a minibatch's sums are divided by."""


def num_tokens(groups: Sequence[Group]) -> int:
    """Answered tokens, each counted as often as it was sampled."""
    return sum(answer.count * len(answer.output_ids) for group in groups for answer in group.answers)


class Grpo:
    """Group-normalized advantages; the divergence from the reference is part of the loss (Shao et al. 2024, eq. 3).

    A token weighs the same in a short and in a long answer (Yu et al. 2025, DAPO, section 3.3), not by answer as in
    DeepSeekMath.
    """

    needs_old_logps = False

    def __init__(self, params: GrpoParams) -> None:
        self._params = params

    def advantages(self, experience: Experience) -> list[Tensor]:
        """The same for all tokens of an answer."""
        return [
            _spread(group, group_advantages(_sampled(group, _rewards(group))[None])[0]) for group in experience.groups
        ]

    def loss(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Clipped ratio of each token, plus β times the divergence."""
        loss = clipped_loss(tokens.logps, tokens.old_logps, tokens.advantages, self._params.clip_range)
        loss = loss + self._params.kl_coefficient * k3_divergence(tokens.logps, tokens.reference_logps)
        clipped = is_clipped(tokens.logps, tokens.old_logps, tokens.advantages, self._params.clip_range)
        return (loss * tokens.counts).sum(), (clipped * tokens.counts).sum()

    def num_units(self, groups: Sequence[Group]) -> int:
        """Tokens."""
        return num_tokens(groups)


class Rloo:
    """Leave-one-out advantages of whole answers, which are one action each (Ahmadian et al. 2024, section 2.3)."""

    needs_old_logps = True

    def __init__(self, params: RlooParams) -> None:
        self._params = params

    def advantages(self, experience: Experience) -> list[Tensor]:
        """Of rewards less β times the log-ratio to the reference, summed over the answer."""
        found = []
        for group, earned in zip(experience.groups, _penalized(experience, self._params.kl_coefficient), strict=True):
            totals = torch.stack([rewards.double().sum() for rewards in earned]).cpu()
            found.append(leave_one_out_advantages(_sampled(group, totals)[None])[0])
        if self._params.whiten_advantages:
            sampled = torch.cat(found)
            found = list(torch.split(whitened(sampled, torch.ones_like(sampled)), [len(values) for values in found]))
        return [_spread(group, values) for group, values in zip(experience.groups, found, strict=True)]

    def loss(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Clipped ratio of each answer: the product of its tokens' ratios."""
        lengths, counts = tokens.lengths, tokens.answer_counts
        logps, old_logps = answer_sums(tokens.logps, lengths), answer_sums(tokens.old_logps, lengths)
        advantages = answer_sums(tokens.advantages, lengths) / lengths.to(logps.device)
        loss = clipped_loss(logps, old_logps, advantages, self._params.clip_range)
        clipped = is_clipped(logps, old_logps, advantages, self._params.clip_range)
        return (loss * counts).sum(), (clipped * counts).sum()

    def num_units(self, groups: Sequence[Group]) -> int:
        """Answers."""
        return sum(answer.count for group in groups for answer in group.answers)


class Ppo:
    """Advantages of tokens from a critic (Schulman et al. 2016, 2017); leaving the reference costs reward."""

    needs_old_logps = True

    def __init__(self, params: PpoParams) -> None:
        self._params = params

    def advantages(self, experience: Experience) -> list[Tensor]:
        """Whitened over the step, if asked for."""
        found = self.raw_advantages(experience)
        if not self._params.whiten_advantages:
            return found
        sizes = [len(values) for values in found]
        counts = token_counts(experience.groups, found[0].device)
        return list(torch.split(whitened(torch.cat(found), counts), sizes))

    def raw_advantages(self, experience: Experience) -> list[Tensor]:
        """As the critic's values give them; added to those they are the returns that the critic learns."""
        params = self._params
        found = []
        earned = _penalized(experience, params.kl_coefficient)
        for group, rewards, values in zip(experience.groups, earned, experience.values, strict=True):
            parts = zip(rewards, torch.split(values, group.lengths), strict=True)
            found.append(torch.cat([generalized_advantages(*part, params.gamma, params.gae_lambda) for part in parts]))
        return found

    def loss(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Clipped ratio of each token."""
        loss = clipped_loss(tokens.logps, tokens.old_logps, tokens.advantages, self._params.clip_range)
        clipped = is_clipped(tokens.logps, tokens.old_logps, tokens.advantages, self._params.clip_range)
        return (loss * tokens.counts).sum(), (clipped * tokens.counts).sum()

    def num_units(self, groups: Sequence[Group]) -> int:
        """Tokens."""
        return num_tokens(groups)


class Distill:
    """The divergence from a teacher on the student's own answers; rewards are measured and teach nothing."""

    needs_old_logps = False

    def __init__(self, params: DistillParams, teacher: PreTrainedModel, compute: ComputeParams) -> None:
        self._params = params
        self._teacher = teacher
        self._compute = compute

    def advantages(self, experience: Experience) -> list[Tensor]:
        """None."""
        return [torch.zeros(group.num_answered) for group in experience.groups]

    def loss(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Reverse divergence of each token."""
        with torch.no_grad():
            teacher = answer_log_probabilities(self._teacher, tokens.groups, self._params.temperature, self._compute)
        loss = reverse_divergence(tokens.log_probabilities, teacher)
        return (loss * tokens.counts).sum(), torch.zeros(())

    def num_units(self, groups: Sequence[Group]) -> int:
        """Tokens."""
        return num_tokens(groups)


def make_method(params: MethodParams, teacher: PreTrainedModel | None, compute: ComputeParams) -> Method:
    """The method that the parameters choose; a teacher is needed by `distill` alone."""
    match params:
        case GrpoParams():
            return Grpo(params)
        case RlooParams():
            return Rloo(params)
        case PpoParams():
            return Ppo(params)
        case DistillParams():
            if teacher is None:
                raise ValueError("distillation needs a teacher")
            return Distill(params, teacher, compute)


def _rewards(group: Group) -> Tensor:
    """Of each different answer, in float64."""
    return torch.tensor([answer.reward for answer in group.answers], dtype=torch.float64)


def _sampled(group: Group, values: Tensor) -> Tensor:
    """Values of the different answers as values of all that were sampled [group_size]."""
    return values.repeat_interleave(torch.tensor(group.counts))


def _spread(group: Group, sampled: Tensor) -> Tensor:
    """Values of all sampled answers as values of the different ones' tokens."""
    firsts = torch.tensor([0, *group.counts[:-1]]).cumsum(0)
    return sampled[firsts].repeat_interleave(torch.tensor(group.lengths)).float()


def _penalized(experience: Experience, kl_coefficient: float) -> list[list[Tensor]]:
    """Rewards of the tokens of each answer of each group."""
    found = []
    for group, old_logps, reference in zip(
        experience.groups, experience.old_logps, experience.reference_logps, strict=True
    ):
        if old_logps is None:
            raise ValueError("the sampler's log-probabilities are missing")
        logps, expected = torch.split(old_logps, group.lengths), torch.split(reference, group.lengths)
        parts = zip(logps, expected, _rewards(group), strict=True)
        found.append([penalized_rewards(*part, kl_coefficient) for part in parts])
    return found
