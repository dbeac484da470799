"""Parameters of learning from rewards and from a teacher on the model's own answers: a choice by `method`."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, RootModel, model_validator

from forgeline.core.params import Section
from forgeline.training.params.lora import LoraParams
from forgeline.training.params.optimization import OptimizationParams


class RewardWeights(Section):
    """What an answer earns: the weighted sum of these. A reward of weight 0 is not computed.

    Attributes:
        exact: 1 for the right answer in a box, else 0.
        format: 1 for exactly one box and an ended turn, else 0.
        length: 1 up to `length_target` tokens, falling in a line to 0 at `max_new_tokens` (Yu et al. 2025, eq. 13).
        model: The score of the reward model in `scoring_model`.
        custom: What the function of `custom_reward` returns.
    """

    exact: float = Field(ge=0)
    format: float = Field(ge=0)
    length: float = Field(ge=0)
    model: float = Field(ge=0)
    custom: float

    @model_validator(mode="after")
    def _some_reward(self) -> "RewardWeights":
        if not any((self.exact, self.format, self.length, self.model, self.custom)):
            raise ValueError("all weights are 0, so nothing would be rewarded: raise one")
        return self


class CustomRewardParams(Section):
    """A reward that is a Python function: (prompts, answers, references) to one number for each answer.

    Attributes:
        file: The Python file. It is an input of the stage, so a changed function is run again.
        function: Its name there.
    """

    file: str = Field(min_length=1)
    function: str = Field(min_length=1)


class _Method(OptimizationParams):
    """What all methods share. A step samples once and updates `num_epochs` x (rollouts / `minibatch_size`) times.

    Attributes:
        lora: The adapter that is trained; without it the model is the reference.
        scoring_model: Model folder: the reward model, or the teacher of `distill`; an input of the stage. Where neither
            is asked, models/sft, which is an input anyway.
        tasks: Tasks of the conversations whose prompts are answered; their last turn is the reference answer.
        prompts_per_step: Different prompts of one step.
        group_size: Answers sampled to each prompt.
        temperature: Of sampling, and of the policy that is trained.
        max_new_tokens: Longest answer; a longer one is cut there.
        num_epochs: Passes over the rollouts of a step.
        minibatch_size: Rollouts of one update.
        reward_weights: What an answer earns.
        length_target: Tokens up to which the length reward is 1.
        custom_reward: The function behind `reward_weights.custom`.
        missing_eos_penalty: Taken from the reward of an answer that was cut before it ended (Huang et al. 2024).
        eval_prompts: Validation prompts answered before and after.
    """

    lora: LoraParams
    scoring_model: str = Field(min_length=1)
    tasks: list[str] = Field(min_length=1)
    prompts_per_step: int = Field(ge=1)
    group_size: int = Field(ge=1)
    temperature: float = Field(gt=0)
    max_new_tokens: int = Field(ge=1)
    num_epochs: int = Field(ge=1)
    minibatch_size: int = Field(ge=1)
    reward_weights: RewardWeights
    length_target: int = Field(ge=1)
    custom_reward: CustomRewardParams
    missing_eos_penalty: float = Field(ge=0)
    eval_prompts: int = Field(ge=1)

    @model_validator(mode="after")
    def _minibatches_hold_whole_groups(self) -> "_Method":
        rollouts = self.prompts_per_step * self.group_size
        if self.minibatch_size % self.group_size or rollouts % self.minibatch_size:
            raise ValueError(
                f"minibatch_size {self.minibatch_size} must be a multiple of group_size {self.group_size} and divide "
                f"prompts_per_step x group_size = {rollouts}: change one of them"
            )
        return self

    @model_validator(mode="after")
    def _length_reward_falls(self) -> "_Method":
        if self.reward_weights.length and self.length_target >= self.max_new_tokens:
            raise ValueError(
                f"length_target {self.length_target} must be below max_new_tokens {self.max_new_tokens} for "
                "reward_weights.length: lower it"
            )
        return self


class _Clipped(_Method):
    """Methods with a clipped ratio and a price on leaving the reference.

    Attributes:
        clip_range: How far the probability ratio may move the loss (Schulman et al. 2017, eq. 7).
        kl_coefficient: Weight of the divergence from the reference: in the loss (GRPO) or in the reward (RLOO, PPO).
    """

    clip_range: float = Field(gt=0, lt=1)
    kl_coefficient: float = Field(ge=0)


class _Grouped(_Clipped):
    """Methods that compare the answers to one prompt."""

    group_size: int = Field(ge=2)


class GrpoParams(_Grouped):
    """Group relative policy optimization (Shao et al. 2024, arXiv 2402.03300)."""

    method: Literal["grpo"]


class RlooParams(_Grouped):
    """REINFORCE leave-one-out (Ahmadian et al. 2024, arXiv 2402.14740).

    Attributes:
        whiten_advantages: Whether a step's advantages are brought to mean 0 and variance 1.
    """

    method: Literal["rloo"]
    whiten_advantages: bool


class PpoParams(_Clipped):
    """Proximal policy optimization with a critic (Schulman et al. 2017, arXiv 1707.06347).

    Attributes:
        gamma: Discount of later rewards.
        gae_lambda: From one-step (0) to whole-answer (1) estimates (Schulman et al. 2016, arXiv 1506.02438, eq. 16).
        whiten_advantages: Whether a step's advantages are brought to mean 0 and variance 1.
        value_clip_range: How far a value may move from the one at sampling before its loss stops pulling.
        critic_learning_rate: Peak for the critic's adapter and head, under the same schedule.
        critic_warmup_steps: First steps, in which the critic alone learns.
    """

    method: Literal["ppo"]
    gamma: float = Field(gt=0, le=1)
    gae_lambda: float = Field(ge=0, le=1)
    whiten_advantages: bool
    value_clip_range: float = Field(gt=0)
    critic_learning_rate: float = Field(gt=0)
    critic_warmup_steps: int = Field(ge=0)

    @model_validator(mode="after")
    def _policy_learns_too(self) -> "PpoParams":
        if self.critic_warmup_steps >= self.num_steps:
            raise ValueError(
                f"critic_warmup_steps {self.critic_warmup_steps} leaves none of num_steps {self.num_steps} to the "
                "policy: lower it"
            )
        return self


class DistillParams(_Method):
    """On-policy distillation (Agarwal et al. 2023, arXiv 2306.13649); the teacher is `scoring_model`."""

    method: Literal["distill"]

    @model_validator(mode="after")
    def _teacher_is_no_reward_model(self) -> "DistillParams":
        if self.reward_weights.model:
            raise ValueError("scoring_model is the teacher here, so no reward model can be asked: set "
                             "reward_weights.model to 0")  # fmt: skip
        return self


MethodParams = GrpoParams | RlooParams | PpoParams | DistillParams


class ReinforceParams(RootModel[Annotated[MethodParams, Field(discriminator="method")]]):
    """An entry of section `reinforce`: a method with its knobs."""

    model_config = ConfigDict(frozen=True, strict=True)
