"""The objective of policy-gradient training: advantages, clipped ratios, divergence from the reference."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import Tensor

from forgeline.model.compute import autocast
from forgeline.model.params import ComputeParams


@dataclass(frozen=True)
class Answer:
    """A different answer of a group: its tokens, how much better than the group it was, how often it was sampled."""

    output_ids: tuple[int, ...]
    advantage: float
    count: int


@dataclass(frozen=True)
class Group:
    """A prompt and the different answers that were sampled to it."""

    prompt_ids: tuple[int, ...]
    answers: list[Answer]

    @property
    def length(self) -> int:
        """Tokens of the prompt and of all answers: one row of a forward pass."""
        return len(self.prompt_ids) + self.num_answered

    @property
    def num_answered(self) -> int:
        """Tokens of the different answers."""
        return sum(len(answer.output_ids) for answer in self.answers)


def group_advantages(rewards: Tensor) -> Tensor:
    """How each answer compares with the others to its prompt: A_i = (r_i - mean(r)) / std(r).

    Shao et al. 2024 (DeepSeekMath), section 4.1.2. The standard deviation is that of the group (divided by its size);
    1e-6 beside it makes the advantages of equal rewards 0.

    Args:
        rewards: [prompts, group_size].
    """
    centered = rewards - rewards.mean(dim=1, keepdim=True)
    return centered / (rewards.std(dim=1, keepdim=True, unbiased=False) + 1e-6)


def clipped_loss(logps: Tensor, old_logps: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """Loss of each token: -min(r A, clip(r, 1 - ε, 1 + ε) A) with r = exp(logps - old_logps).

    Schulman et al. 2017, eq. 7. All of one shape.
    """
    ratios = torch.exp(logps - old_logps)
    return -torch.minimum(ratios * advantages, ratios.clamp(1 - clip_range, 1 + clip_range) * advantages)


def is_clipped(logps: Tensor, old_logps: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """Where clipping stops the gradient of `clipped_loss`: the ratio has left the range on the advantage's side."""
    ratios = torch.exp(logps - old_logps)
    return ((ratios > 1 + clip_range) & (advantages > 0)) | ((ratios < 1 - clip_range) & (advantages < 0))


def k3_divergence(logps: Tensor, reference_logps: Tensor) -> Tensor:
    """Estimate of KL(π ‖ π_ref) of each token from a sample of π: exp(d) - d - 1 with d = log π_ref - log π.

    Unbiased and never negative (Schulman 2020, "k3"; Shao et al. 2024, eq. 4).
    """
    difference = reference_logps - logps
    return torch.exp(difference) - difference - 1


def token_logps(
    model: PeftModel, groups: Sequence[Group], temperature: float, compute: ComputeParams
) -> tuple[Tensor, Tensor]:
    """Log-probability of every answered token and the entropy of the distribution it came from.

    Both are [answered tokens], group after group, answer after answer, under softmax(logits / temperature). A group is
    one row: its prompt, which ends in the same column in every row, then all its answers. Each answer sees the prompt
    and itself and takes the positions that follow the prompt, so the result is that of every answer alone.
    """
    before = max(len(group.prompt_ids) for group in groups)
    longest = before + max(group.num_answered for group in groups)
    rows = [_layout(group, before, longest) for group in groups]
    # [groups, longest] each: ids, positions, segments, and the column whose logits predict the token (-1: not answered)
    input_ids, positions, segments, sources = torch.tensor(rows, device=model.device).unbind(dim=1)
    with autocast(model.device, compute):
        logits = model(
            input_ids=input_ids,
            position_ids=positions,
            attention_mask=_attention_mask(segments),
            use_cache=False,
            logits_to_keep=longest - before + 1,
        ).logits
    row, column = (sources >= 0).nonzero(as_tuple=True)
    used = logits[row, sources[row, column] - (before - 1)].float()  # [answered tokens, vocabulary]
    log_probabilities = (used / temperature).log_softmax(dim=-1)
    with torch.no_grad():
        entropy = -(log_probabilities.exp() * log_probabilities).sum(dim=-1)
    return log_probabilities.gather(1, input_ids[row, column][:, None]).squeeze(1), entropy


def per_token(groups: Sequence[Group], device: torch.device) -> tuple[Tensor, Tensor]:
    """Advantage and count of every answered token [answered tokens], in the order of `token_logps`."""
    answers = [answer for group in groups for answer in group.answers]
    lengths = torch.tensor([len(answer.output_ids) for answer in answers])
    values = torch.tensor([[answer.advantage, answer.count] for answer in answers], dtype=torch.float32)
    advantages, counts = values.repeat_interleave(lengths, dim=0).to(device).unbind(dim=1)
    return advantages, counts


def _layout(group: Group, before: int, longest: int) -> list[list[int]]:
    """Ids, positions, segments (prompt 0, answers from 1, padding -1) and sources of one row of `longest` columns."""
    size = len(group.prompt_ids)
    ids, positions, segments, sources = list(group.prompt_ids), list(range(size)), [0] * size, [-1] * size
    for segment, answer in enumerate(group.answers, start=1):
        start, count = before - size + len(ids), len(answer.output_ids)
        ids += answer.output_ids
        positions += range(size, size + count)
        segments += [segment] * count
        sources += [before - 1, *range(start, start + count - 1)][:count]
    left, right = before - size, longest - before - group.num_answered
    return [
        [filler] * left + values + [filler] * right
        for values, filler in ((ids, 0), (positions, 0), (segments, -1), (sources, -1))
    ]


def _attention_mask(segments: Tensor) -> Tensor:
    """What is added to attention scores [groups, 1, columns, columns]: 0 where a token may look, else very negative.

    A token looks at itself and back at its own segment and the prompt's.
    """
    columns = torch.arange(segments.size(1), device=segments.device)
    back = columns[None, :] <= columns[:, None]
    same = segments[:, None, :] == segments[:, :, None]
    prompt = (segments == 0)[:, None, :] & (segments >= 0)[:, :, None]
    itself = columns[None, :] == columns[:, None]
    seen = back & (same | prompt) & (segments >= 0)[:, None, :] | itself
    closed = torch.finfo(torch.bfloat16).min  # float32 holds it too
    return torch.zeros(seen.shape, device=segments.device).masked_fill(~seen, closed)[:, None]
