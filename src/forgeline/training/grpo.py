"""Group relative policy optimization (Shao et al. 2024, DeepSeekMath) of a LoRA adapter on verifiable questions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel, get_peft_model
from transformers import PreTrainedTokenizerBase

from forgeline.core.errors import DataError
from forgeline.core.records import Conversation
from forgeline.core.run import Counts
from forgeline.evaluation.scores import Score, bootstrap_interval, proportion
from forgeline.model.params import ComputeParams
from forgeline.model.traits import require_branches
from forgeline.tokenization.chat import render_prompt, stop_token_ids
from forgeline.tokenization.loading import load_tokenizer
from forgeline.training.loop.policy import HistoryRow, Judge, LogStep, train_policy
from forgeline.training.loop.policy_loss import group_advantages
from forgeline.training.loop.rollouts import Prompt, Sampler
from forgeline.training.lora import load_plain, lora_config, name_parent
from forgeline.training.order import record_order
from forgeline.training.params.grpo import GrpoParams, RewardWeights
from forgeline.training.rewards import exact_reward, format_reward, is_verifiable

_NUM_BOOTSTRAP = 1000


@dataclass(frozen=True)
class GrpoResult:
    """A trained adapter with its tokenizer, the curve, the record counts and the figures of the metrics file."""

    model: PeftModel
    tokenizer: PreTrainedTokenizerBase
    history: list[HistoryRow]
    counts: Counts
    figures: dict[str, Any]


@dataclass(frozen=True)
class Answers:
    """How a model did on the validation prompts: greedy answers that are exact, rewards of sampled ones."""

    exact: list[bool]
    rewards: np.ndarray[Any, np.dtype[np.float64]]


def train_grpo(
    sft: Path,
    train: Sequence[Conversation],
    validation: Sequence[Conversation],
    params: GrpoParams,
    compute: ComputeParams,
    device: torch.device,
    *,
    checkpoints: Path,
    log: LogStep,
) -> GrpoResult:
    """Trains an adapter on the model in `sft` to earn more reward.

    Args:
        sft: Model folder with its tokenizer: start and reference.
        train: Conversations; those of `params.tasks` with a verifiable answer give the prompts.
        validation: Held-out conversations, filtered the same way.
        params: Section `align.grpo`.
        compute: Section `compute`.
        device: As `set_up` returned it.
        checkpoints: Scratch folder of this very run.
        log: Told step and figures, for live curves.

    Raises:
        DataError: No conversation gives a prompt.
        ParamsError: The architecture cannot run several answers after one prompt.
        StopRequested: SIGTERM or Ctrl-C came; a checkpoint was saved first.
    """
    tokenizer = load_tokenizer(sft)
    prompts, dropped = verifiable_prompts(tokenizer, train, params.tasks)
    held_out, dropped_held_out = verifiable_prompts(tokenizer, validation, params.tasks)
    watched = [held_out[index] for index in record_order(len(held_out), len(held_out), params.seed)]
    watched = watched[: params.eval_prompts]
    plain = load_plain(sft, device)
    require_branches(plain, "align.grpo")
    config = lora_config(plain, params.lora)
    torch.manual_seed(params.seed)
    model = get_peft_model(plain, config)
    name_parent(model, sft)
    sampler = Sampler(stop_token_ids(tokenizer), tokenizer.pad_token_id, compute)
    judge = make_judge(tokenizer, params.reward_weights)
    history = train_policy(
        model, prompts, judge, group_advantages, sampler, params, checkpoints=checkpoints, log=log
    )  # fmt: skip
    after = measure(model, watched, judge, sampler, params)
    with model.disable_adapter():
        before = measure(model, watched, judge, sampler, params)
    counts = Counts(
        len(train) + len(validation),
        len(prompts) + len(held_out),
        {reason: dropped[reason] + dropped_held_out[reason] for reason in dropped},
    )
    figures = {
        "first": {name: value for name, value in history[0].items() if name != "step"},
        "final": {name: value for name, value in history[-1].items() if name != "step"},
        "validation": compare(before, after, params.seed),
        "num_train_prompts": len(prompts),
        "num_rollouts": params.num_steps * params.prompts_per_step * params.group_size,
    }
    return GrpoResult(model, tokenizer, history, counts, figures)


def verifiable_prompts(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], tasks: Sequence[str]
) -> tuple[list[Prompt], dict[str, int]]:
    """The prompts whose answers can be judged, in order, and how many conversations were left out for which reason.

    Raises:
        DataError: None is left.
    """
    asked = [conversation for conversation in conversations if conversation.task in tasks]
    kept = [conversation for conversation in asked if is_verifiable(conversation.messages[-1]["content"])]
    if not kept:
        raise DataError(
            f"none of {len(conversations)} conversations is of the tasks {', '.join(tasks)} with a \\boxed{{}} answer: "
            "change align.grpo.tasks"
        )
    prompts = [
        Prompt(tuple(render_prompt(tokenizer, record.messages[:-1])), record.messages[-1]["content"]) for record in kept
    ]
    return prompts, {"other_task": len(conversations) - len(asked), "not_verifiable": len(asked) - len(kept)}


def make_judge(tokenizer: PreTrainedTokenizerBase, weights: RewardWeights) -> Judge:
    """Rewards of an answer: exact, format, and their weighted sum `reward`."""

    def judge(prompt: Prompt, output_ids: Sequence[int]) -> dict[str, float]:
        ended = bool(output_ids) and output_ids[-1] == tokenizer.eos_token_id
        text = tokenizer.decode(list(output_ids), skip_special_tokens=True)
        exact, form = exact_reward(text, prompt.reference), format_reward(text, ended)
        return {"reward": weights.exact * exact + weights.format * form, "exact": exact, "format": form}

    return judge


def measure(model: PeftModel, prompts: Sequence[Prompt], judge: Judge, sampler: Sampler, params: GrpoParams) -> Answers:
    """Answers every prompt once greedily and once by sampling; the random numbers are the same at every call."""

    def rewards(temperature: float, generator: torch.Generator | None) -> list[dict[str, float]]:
        answers = sampler.answer(
            model,
            prompts,
            max_new_tokens=params.max_new_tokens,
            temperature=temperature,
            generator=generator,
        )
        return [judge(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]

    sampled = rewards(params.temperature, torch.Generator().manual_seed(params.seed))
    greedy = rewards(0.0, None)
    return Answers([row["exact"] == 1 for row in greedy], np.array([row["reward"] for row in sampled]))


def compare(before: Answers, after: Answers, seed: int) -> dict[str, Any]:
    """Scores of both models on the same prompts, and the mean gain of reward with its paired interval."""
    share = sum(before.exact) / len(before.exact)
    mean = float(before.rewards.mean())
    return {
        "greedy_exact_before": proportion(before.exact, None, None).as_json(),
        "greedy_exact_after": proportion(after.exact, share, "reference").as_json(),
        "sampled_reward_before": _mean_score(before.rewards, None, seed).as_json(),
        "sampled_reward_after": _mean_score(after.rewards, mean, seed).as_json(),
        "sampled_reward_gain": _mean_score(after.rewards - before.rewards, 0.0, seed).as_json(),
    }


def _mean_score(values: np.ndarray[Any, np.dtype[np.float64]], baseline: float | None, seed: int) -> Score:
    low, high = bootstrap_interval(lambda indices: float(values[indices].mean()), len(values), _NUM_BOOTSTRAP, seed)
    name = None if baseline is None else "reference"
    return Score(float(values.mean()), low, high, len(values), baseline, name, "bootstrap")
