"""Learning from the policy's own answers: sample, judge, compare with what was expected, update the adapter.

One loop serves PPO, RLOO, GRPO and on-policy distillation (`methods`). A step samples `group_size` answers to each of
`prompts_per_step` prompts, turns rewards into advantages and takes clipped-ratio updates in minibatches. Policy,
reference and critic are one model: with the adapter switched off it is the reference, with another adapter the critic.

Two savings change nothing but rounding. Equal answers to one prompt have equal rewards and hence equal advantages, so
each different answer is run once, weighted by how often it was sampled. And the answers of a group share one run of
their prompt (`sequences`). Together they make an update about four times cheaper (measured with 8 short answers a
prompt).

Sampling uses packed or copied weights with the adapter merged in, in the precision of the computation. The
probabilities that the ratio compares therefore come from the training forward pass, not from the sampler, whose
rounding differs.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor

from forgeline.core.errors import StopRequested
from forgeline.core.process import StopSignal
from forgeline.core.progress import announce_fact, announce_resume, announce_warning, progress
from forgeline.model.batches import batches_by_length, evaluation_mode
from forgeline.model.params import ComputeParams
from forgeline.training.loop.checkpoints import Checkpoints
from forgeline.training.loop.objective import require_finite
from forgeline.training.loop.optimizers.build import build_optimizers, clip_gradients, set_learning_rate_factor
from forgeline.training.loop.optimizers.params import AdamWParams
from forgeline.training.loop.schedule_params import schedule_to_zero
from forgeline.training.loop.schedules import learning_rate_factor
from forgeline.training.order import record_order
from forgeline.training.params.reinforce import DistillParams, MethodParams, PpoParams
from forgeline.training.reinforce.advantages import explained_variance
from forgeline.training.reinforce.critic import Critic
from forgeline.training.reinforce.losses import k3_divergence
from forgeline.training.reinforce.methods import Experience, Method, Ppo, Tokens, num_tokens
from forgeline.training.reinforce.rollouts import POLICY, Actor, Prompt
from forgeline.training.reinforce.sequences import (
    Group,
    answer_log_probabilities,
    answered_ids,
    group_answers,
    token_counts,
)

HistoryRow = dict[str, float | int | None]
LogStep = Callable[[int, Mapping[str, float]], None]
# The named rewards of each answer; `reward` is what counts.
Judge = Callable[[Sequence[Prompt], Sequence[Sequence[int]]], list[dict[str, float]]]

_KEPT_CHECKPOINTS = 2
_UPDATE_TOKENS = 8192  # padded tokens of one forward pass of an update
_BETAS = [0.9, 0.999]
_EPSILON = 1e-8


def train_policy(
    model: PeftModel,
    prompts: Sequence[Prompt],
    judge: Judge,
    method: Method,
    actor: Actor,
    params: MethodParams,
    compute: ComputeParams,
    *,
    checkpoints: Path,
    log: LogStep,
) -> list[HistoryRow]:
    """Trains the adapter of `model` in place; killed at any moment, a rerun goes on to the same bytes.

    Args:
        model: Frozen weights with a trainable adapter.
        prompts: What may be asked.
        judge: What answers earn.
        method: Advantage and loss.
        actor: Answers as the policy.
        params: Section of the method.
        compute: Precision.
        checkpoints: Scratch folder of this very run.
        log: Told step and figures, for live curves.

    Returns:
        The history, one row a step.

    Raises:
        StopRequested: SIGTERM or Ctrl-C came; a checkpoint was saved first.
        ForgelineError: The loss is no longer finite.
    """
    run = _Run(model, prompts, judge, method, actor, params, compute, Checkpoints(checkpoints, _KEPT_CHECKPOINTS))
    unit = params.prompts_per_step * params.group_size
    with StopSignal() as stop, progress(params.method, params.num_steps * unit, "rollouts") as bar:
        bar(run.step * unit)
        while run.step < params.num_steps:
            row, speed = run.train_step()
            log(run.step, {**{name: value for name, value in row.items() if name != "step" and value is not None},
                           **speed})  # fmt: skip
            bar(unit, note=f"reward {row['reward']:.3f}")
            if stop.requested or run.step % params.checkpoint_every_steps == 0:
                run.save()
            if stop.requested and run.step < params.num_steps:
                raise StopRequested(f"stopped: checkpoint at step {run.step} saved; run the same command to resume")
    run.finish()
    return run.history


class _Run:
    """The moving parts of a run and their saved form."""

    def __init__(
        self,
        model: PeftModel,
        prompts: Sequence[Prompt],
        judge: Judge,
        method: Method,
        actor: Actor,
        params: MethodParams,
        compute: ComputeParams,
        checkpoints: Checkpoints,
    ) -> None:
        self.model = model
        self.prompts = prompts
        self.judge = judge
        self.method = method
        self.actor = actor
        self.params = params
        self.compute = compute
        self.checkpoints = checkpoints
        self.order = record_order(len(prompts), params.num_steps * params.prompts_per_step, params.seed)
        self.optimizers = build_optimizers(_adamw(params, params.learning_rate), model)
        self.schedule = schedule_to_zero(params.schedule, params.warmup_steps)
        self.generator = torch.Generator().manual_seed(params.seed)
        self.critic: Critic | None = None
        if isinstance(params, PpoParams):
            optimizer = _adamw(params, params.critic_learning_rate)
            self.critic = Critic(model, model.peft_config[POLICY], optimizer, compute, params.seed)
        self.step = 0
        self.history: list[HistoryRow] = []
        self.warned = False
        self.seconds = 0.0
        saved = checkpoints.load_latest()
        if saved is not None:
            self._restore(saved)

    def train_step(self) -> tuple[HistoryRow, dict[str, float]]:
        """Samples, judges, updates; returns the step's figures and, apart from them, how fast it was."""
        start, written, spent = time.perf_counter(), self.actor.num_tokens, self.actor.seconds
        factor = learning_rate_factor(self.schedule, self.step, self.params.num_steps)
        groups, figures = self._roll_out()
        experience = self._look_back(groups)
        figures.update(self._update(experience, factor))
        require_finite(figures["train_loss"], self.step)
        self.step += 1
        row: HistoryRow = {"step": self.step, **figures, "learning_rate": self.params.learning_rate * factor}
        self.history.append(row)
        seconds, rolling = time.perf_counter() - start, self.actor.seconds - spent
        self.seconds += seconds
        return row, {
            "rollout_tokens_per_second": (self.actor.num_tokens - written) / rolling,
            "rollout_share_of_time": rolling / seconds,
        }

    def finish(self) -> None:
        """Takes the critic off and says how fast the rollouts were."""
        if self.critic is not None:
            self.critic.leave()
        if self.seconds:
            path = "packed" if self.actor.is_packed else "by the model's own forward pass"
            announce_fact(
                f"rollouts ({path}): {self.actor.num_tokens / self.actor.seconds:,.0f} tokens/s, "
                f"{self.actor.seconds / self.seconds:.0%} of the time of a step"
            )

    def _roll_out(self) -> tuple[list[Group], dict[str, float]]:
        """A group for each of the step's prompts, and what the rewards were."""
        params, size = self.params, self.params.group_size
        start = self.step * params.prompts_per_step
        asked = [self.prompts[index] for index in self.order[start : start + params.prompts_per_step]]
        copies = [prompt for prompt in asked for _ in range(size)]
        self.actor.refresh()
        answers = self.actor.answer(copies, params.max_new_tokens, params.temperature, self.generator)
        judged = self.judge(copies, answers)
        rewards = torch.tensor([row["reward"] for row in judged], dtype=torch.float64).view(len(asked), size)
        spread = rewards.std(dim=1, unbiased=False)
        # A critic compares across prompts; without one an answer is compared with the others to its prompt.
        compared = rewards.view(1, -1) if isinstance(params, PpoParams) or size == 1 else rewards
        equal = float((compared.std(dim=1, unbiased=False) == 0).double().mean())
        if equal == 1.0 and not isinstance(params, DistillParams):
            self._warn_equal()
        figures = {name: sum(row[name] for row in judged) / len(judged) for name in judged[0]}
        figures |= {"reward_std": float(rewards.std(unbiased=False)), "reward_std_in_group": float(spread.mean())}
        figures |= {"share_of_equal_groups": equal, "output_tokens": sum(map(len, answers)) / len(answers)}
        earned = rewards.tolist()
        groups = [
            group_answers(prompt.input_ids, answers[size * row : size * (row + 1)], earned[row])
            for row, prompt in enumerate(asked)
        ]
        return groups, figures

    def _look_back(self, groups: list[Group]) -> Experience:
        """What reference, critic and policy make of the answers before anything is learned from them."""
        with self.model.disable_adapter():
            reference = self._frozen(groups, self._logps)
        # Without a use for them before, the first minibatch's own probabilities are the old ones: it starts where the
        # sampling ended.
        fresh = 0
        if not self.method.needs_old_logps and self.params.num_epochs == 1:
            fresh = self.params.minibatch_size // self.params.group_size
        old: list[Tensor | None] = [None] * len(groups)
        old[fresh:] = self._frozen(groups[fresh:], self._logps)
        values = [] if self.critic is None else self._frozen(groups, self.critic.values)
        return Experience(groups, old, reference, values)

    def _update(self, experience: Experience, factor: float) -> dict[str, float]:
        """`num_epochs` passes of minibatch updates; returns means over all tokens or answers of all updates."""
        params, groups = self.params, experience.groups
        size = params.minibatch_size // params.group_size
        advantages = self.method.advantages(experience)
        returns = self._returns(experience)
        totals: dict[str, float] = {}
        for epoch in range(params.num_epochs):
            order = list(range(len(groups)))
            if epoch:
                order = torch.randperm(len(groups), generator=self.generator).tolist()
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                sums = self._minibatch(experience, advantages, rows, factor)
                if self.critic is not None:
                    sums["value_loss"] = self._teach_critic(self.critic, experience, returns, rows, factor)
                totals = {name: totals.get(name, 0.0) + value for name, value in sums.items()}
        units, tokens = totals.pop("num_units"), totals.pop("num_tokens")
        by_unit = ("train_loss", "clip_fraction")
        figures = {name: total / (units if name in by_unit else tokens) for name, total in totals.items()}
        if self.critic is not None:
            counts = token_counts(groups, returns[0].device)
            values = torch.cat(experience.values)
            figures["explained_variance"] = explained_variance(values, torch.cat(returns), counts)
        return figures

    def _minibatch(
        self, experience: Experience, advantages: Sequence[Tensor], rows: Sequence[int], factor: float
    ) -> dict[str, float]:
        """One optimizer step of the policy on the groups in `rows`; returns sums.

        The loss is summed over the minibatch and divided by its tokens (by its answers with RLOO), so how it is cut
        into forward passes changes nothing.
        """
        groups = [experience.groups[row] for row in rows]
        num_units = self.method.num_units(groups)
        totals = {"train_loss": 0.0, "kl": 0.0, "clip_fraction": 0.0, "entropy": 0.0}
        self.model.train()
        for part in batches_by_length([group.length for group in groups], _UPDATE_TOKENS):
            tokens = self._tokens(experience, advantages, [rows[index] for index in part])
            loss, clipped = self.method.loss(tokens)
            torch.autograd.backward(loss / num_units)
            with torch.no_grad():
                divergence = k3_divergence(tokens.logps, tokens.reference_logps)
                entropy = -(tokens.log_probabilities.exp() * tokens.log_probabilities).sum(dim=-1)
                totals["train_loss"] += float(loss)
                totals["clip_fraction"] += float(clipped)
                totals["kl"] += float((divergence * tokens.counts).sum())
                totals["entropy"] += float((entropy * tokens.counts).sum())
        clip_gradients((weights for weights in self.model.parameters() if weights.requires_grad),
                       self.params.max_grad_norm)  # fmt: skip
        set_learning_rate_factor(self.optimizers, factor)
        for optimizer in self.optimizers:
            if not self._is_waiting:
                optimizer.step()
            optimizer.zero_grad()
        return {**totals, "num_units": num_units, "num_tokens": num_tokens(groups)}

    @property
    def _is_waiting(self) -> bool:
        """Whether the critic alone learns in this step."""
        return isinstance(self.params, PpoParams) and self.step < self.params.critic_warmup_steps

    def _tokens(self, experience: Experience, advantages: Sequence[Tensor], rows: Sequence[int]) -> Tokens:
        groups, device = [experience.groups[row] for row in rows], self.model.device
        log_probabilities = answer_log_probabilities(self.model, groups, self.params.temperature, self.compute)
        logps = log_probabilities.gather(1, answered_ids(groups, device)[:, None]).squeeze(1)
        own = torch.split(logps.detach(), [group.num_answered for group in groups])
        old = [experience.old_logps[row] for row in rows]
        return Tokens(
            groups,
            log_probabilities,
            logps,
            torch.cat([other if before is None else before for before, other in zip(old, own, strict=True)]),
            torch.cat([experience.reference_logps[row] for row in rows]),
            torch.cat([advantages[row] for row in rows]).to(device),
            token_counts(groups, device),
        )

    def _returns(self, experience: Experience) -> list[Tensor]:
        """What the critic should have said of every token of each group; empty without one."""
        if not isinstance(self.method, Ppo):
            return []
        raw = self.method.raw_advantages(experience)
        return [advantages + values for advantages, values in zip(raw, experience.values, strict=True)]

    def _teach_critic(
        self, critic: Critic, experience: Experience, returns: Sequence[Tensor], rows: Sequence[int], factor: float
    ) -> float:
        """One optimizer step of the critic; returns its loss summed over the tokens."""
        if not isinstance(self.params, PpoParams):
            raise TypeError("only PPO has a critic")
        groups = [experience.groups[row] for row in rows]
        total = 0.0
        for part in batches_by_length([group.length for group in groups], _UPDATE_TOKENS):
            chosen = [rows[index] for index in part]
            total += critic.accumulate(
                [experience.groups[row] for row in chosen],
                torch.cat([experience.values[row] for row in chosen]),
                torch.cat([returns[row] for row in chosen]),
                self.params.value_clip_range,
                num_tokens(groups),
            )
        critic.step(factor, self.params.max_grad_norm)
        return total

    def _logps(self, groups: Sequence[Group]) -> Tensor:
        log_probabilities = answer_log_probabilities(self.model, groups, self.params.temperature, self.compute)
        return log_probabilities.gather(1, answered_ids(groups, self.model.device)[:, None]).squeeze(1)

    @torch.no_grad()
    def _frozen(self, groups: Sequence[Group], measure: Callable[[Sequence[Group]], Tensor]) -> list[Tensor]:
        """What `measure` says of the answered tokens of each group, without gradients and dropout."""
        result: list[Tensor] = [torch.empty(0)] * len(groups)
        with evaluation_mode(self.model):
            for rows in batches_by_length([group.length for group in groups], _UPDATE_TOKENS):
                batch = [groups[row] for row in rows]
                parts = torch.split(measure(batch), [group.num_answered for group in batch])
                for row, part in zip(rows, parts, strict=True):
                    result[row] = part
        return result

    def save(self) -> None:
        """Writes a checkpoint that holds everything the rest of the run depends on."""
        self.checkpoints.save(
            self.step,
            {
                "adapter": get_peft_model_state_dict(self.model),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "critic": None if self.critic is None else self.critic.state(),
                "generator": self.generator.get_state(),
                "torch_generator": torch.get_rng_state(),  # dropout
                "history": self.history,
            },
        )

    def _restore(self, saved: dict[str, Any]) -> None:
        set_peft_model_state_dict(self.model, saved["adapter"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        if self.critic is not None:
            self.critic.restore(saved["critic"])
        self.generator.set_state(saved["generator"])
        torch.set_rng_state(saved["torch_generator"])
        self.step = saved["step"]
        self.history = saved["history"]
        announce_resume(self.step)

    def _warn_equal(self) -> None:
        if not self.warned:
            announce_warning(
                f"all answers of every group earned the same in step {self.step + 1}, so nothing is learned from "
                "them: raise temperature or group_size, or ask harder or easier questions"
            )
        self.warned = True


def _adamw(params: MethodParams, learning_rate: float) -> AdamWParams:
    return AdamWParams(
        name="adamw",
        learning_rate=learning_rate,
        betas=_BETAS,
        epsilon=_EPSILON,
        weight_decay=params.weight_decay,
    )
