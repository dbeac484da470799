"""A LoRA adapter from rewards or from a teacher: GRPO, RLOO, PPO or distillation, as the parameters choose."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel, get_peft_model
from transformers import PreTrainedTokenizerBase

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.records import Conversation
from forgeline.core.run import Counts
from forgeline.evaluation.scores import Score, bootstrap_interval, proportion
from forgeline.model.params import ComputeParams
from forgeline.model.traits import max_positions, require_branches
from forgeline.tokenization.chat import render_prompt, stop_token_ids
from forgeline.tokenization.loading import load_tokenizer
from forgeline.training.lora import load_plain, lora_config, name_parent
from forgeline.training.order import record_order
from forgeline.training.params.reinforce import DistillParams, MethodParams
from forgeline.training.reinforce.custom_reward import load_reward
from forgeline.training.reinforce.judge import make_judge
from forgeline.training.reinforce.loop import HistoryRow, Judge, LogStep, train_policy
from forgeline.training.reinforce.methods import make_method
from forgeline.training.reinforce.rollouts import Actor, Prompt
from forgeline.training.reinforce.scoring import load_reward_model, load_teacher, score
from forgeline.training.rewards import is_verifiable

_NUM_BOOTSTRAP = 1000


@dataclass(frozen=True)
class Inputs:
    """What a run reads.

    Attributes:
        sft: Model folder with its tokenizer: start and reference.
        train: Conversations; those of the section's tasks give the prompts.
        validation: Held-out conversations, filtered the same way.
        scoring_model: Folder of the reward model or the teacher; read where the section has a use for it.
        reward_file: Python file of the custom reward; read where that has a weight.
    """

    sft: Path
    train: Sequence[Conversation]
    validation: Sequence[Conversation]
    scoring_model: Path
    reward_file: Path


@dataclass(frozen=True)
class ReinforceResult:
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


def train_reinforce(
    section: str,
    inputs: Inputs,
    params: MethodParams,
    compute: ComputeParams,
    device: torch.device,
    *,
    checkpoints: Path,
    log: LogStep,
) -> ReinforceResult:
    """Trains an adapter on the model in `inputs.sft`.

    Args:
        section: Dotted name of the parameters, for messages.
        inputs: What to learn from.
        params: The section.
        compute: Section `compute`.
        device: As `set_up` returned it.
        checkpoints: Scratch folder of this very run.
        log: Told step and figures, for live curves.

    Raises:
        DataError: No conversation gives a prompt, or the scoring model or the custom reward is not what it should be.
        FingerprintError: The scoring model has another tokenizer.
        ParamsError: The architecture cannot run several answers after one prompt, or the precision is fp16.
        StopRequested: SIGTERM or Ctrl-C came; a checkpoint was saved first.
    """
    if compute.precision == "fp16":
        raise ParamsError(f"{section} does not scale its loss: set compute.precision to bf16 or fp32")
    tokenizer = load_tokenizer(inputs.sft)
    plain = load_plain(inputs.sft, device)
    require_branches(plain, section)
    room = max_positions(plain.config)
    longest = None if room is None else room - params.max_new_tokens
    prompts, dropped = select_prompts(section, tokenizer, inputs.train, params, longest)
    held_out, dropped_held_out = select_prompts(section, tokenizer, inputs.validation, params, longest)
    watched = [held_out[index] for index in record_order(len(held_out), len(held_out), params.seed)]
    watched = watched[: params.eval_prompts]
    teacher = load_teacher(inputs.scoring_model, inputs.sft, device) if isinstance(params, DistillParams) else None
    judge = _make_judge(tokenizer, inputs, params, device)
    torch.manual_seed(params.seed)
    model = get_peft_model(plain, lora_config(plain, params.lora))
    name_parent(model, inputs.sft)
    actor = Actor(model, stop_token_ids(tokenizer), tokenizer.pad_token_id, compute)
    method = make_method(params, teacher, compute)
    history = train_policy(
        model, prompts, judge, method, actor, params, compute, checkpoints=checkpoints, log=log
    )  # fmt: skip
    actor.refresh()
    after = measure(actor, watched, judge, params)
    actor.refresh(with_adapter=False)
    before = measure(actor, watched, judge, params)
    num_in, num_out = len(inputs.train) + len(inputs.validation), len(prompts) + len(held_out)
    counts = Counts(num_in, num_out, {reason: dropped[reason] + dropped_held_out[reason] for reason in dropped})
    figures = {
        "method": params.method,
        "first": {name: value for name, value in history[0].items() if name != "step"},
        "final": {name: value for name, value in history[-1].items() if name != "step"},
        "validation": compare(before, after, params.seed),
        "num_train_prompts": len(prompts),
        "num_rollouts": params.num_steps * params.prompts_per_step * params.group_size,
        "num_steps_of_equal_rewards": sum(row["share_of_equal_groups"] == 1.0 for row in history),
    }
    return ReinforceResult(model, tokenizer, history, counts, figures)


def select_prompts(
    section: str,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Conversation],
    params: MethodParams,
    longest: int | None,
) -> tuple[list[Prompt], dict[str, int]]:
    """The prompts that can be answered and judged, in order, and how many were left out for which reason.

    Args:
        section: Dotted name of the parameters, for the message.
        tokenizer: Renders them.
        conversations: Their last turn is the reference answer.
        params: The tasks; a prompt has to be verifiable where exact answers earn something.
        longest: Tokens of a prompt that leaves room for its answer; None where there is no bound.

    Raises:
        DataError: None is left.
    """
    dropped: Counter[str] = Counter(other_task=0, not_verifiable=0, too_long=0)
    prompts = []
    for record in conversations:
        reference = record.messages[-1]["content"]
        if record.task not in params.tasks:
            dropped["other_task"] += 1
            continue
        if params.reward_weights.exact and not is_verifiable(reference):
            dropped["not_verifiable"] += 1
            continue
        ids = tuple(render_prompt(tokenizer, record.messages[:-1], record.tools))
        if longest is not None and len(ids) > longest:
            dropped["too_long"] += 1
            continue
        prompts.append(Prompt(ids, reference))
    if not prompts:
        raise DataError(
            f"none of {len(conversations)} conversations is of the tasks {', '.join(params.tasks)} with a "
            f"\\boxed{{}} answer and a prompt of at most {longest} tokens (the model's window less max_new_tokens): "
            f"{', '.join(f'{name} {count}' for name, count in dropped.items())}; change {section}.tasks"
        )
    return prompts, dict(dropped)


def _make_judge(
    tokenizer: PreTrainedTokenizerBase, inputs: Inputs, params: MethodParams, device: torch.device
) -> Judge:
    weights = params.reward_weights
    scoring = partial(score, load_reward_model(inputs.scoring_model, inputs.sft, device)) if weights.model else None
    custom = load_reward(inputs.reward_file, params.custom_reward.function) if weights.custom else None
    return make_judge(tokenizer, stop_token_ids(tokenizer), params, scoring, custom)


def measure(actor: Actor, prompts: Sequence[Prompt], judge: Judge, params: MethodParams) -> Answers:
    """Answers every prompt once greedily and once by sampling; the random numbers are the same at every call."""
    generator = torch.Generator().manual_seed(params.seed)
    sampled = judge(prompts, actor.answer(prompts, params.max_new_tokens, params.temperature, generator))
    greedy = judge(prompts, actor.answer(prompts, params.max_new_tokens, 0.0, None))
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
