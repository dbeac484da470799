"""Parameters of group relative policy optimization."""

from pydantic import Field, model_validator

from forgeline.core.params import Section
from forgeline.training.params.lora import LoraParams
from forgeline.training.params.optimization import OptimizationParams


class RewardWeights(Section):
    """What an answer earns: the weighted sum of verifiable rewards, each 0 or 1."""

    exact: float = Field(ge=0)
    format: float = Field(ge=0)

    @model_validator(mode="after")
    def _some_reward(self) -> "RewardWeights":
        if self.exact == 0 and self.format == 0:
            raise ValueError("exact and format are both 0, so nothing would be rewarded: raise one")
        return self


class GrpoParams(OptimizationParams):
    """Section `align.grpo`. A step samples once and updates `num_epochs` x (rollouts / `minibatch_size`) times.

    Attributes:
        lora: The adapter that is trained; without it the model is the reference.
        tasks: Tasks of the conversations whose prompts are answered; their last turn is the reference answer.
        prompts_per_step: Different prompts of one step.
        group_size: Answers sampled to each prompt.
        temperature: Of sampling, and of the policy that is trained.
        max_new_tokens: Longest answer.
        clip_range: How far the probability ratio may move the loss (Schulman et al. 2017, eq. 7).
        kl_coefficient: Weight of the divergence from the reference; 0 leaves it out of the loss.
        num_epochs: Passes over the rollouts of a step.
        minibatch_size: Rollouts of one update.
        reward_weights: What an answer earns.
        eval_prompts: Validation prompts answered before and after.
    """

    lora: LoraParams
    tasks: list[str] = Field(min_length=1)
    prompts_per_step: int = Field(ge=1)
    group_size: int = Field(ge=2)
    temperature: float = Field(gt=0)
    max_new_tokens: int = Field(ge=1)
    clip_range: float = Field(gt=0, lt=1)
    kl_coefficient: float = Field(ge=0)
    num_epochs: int = Field(ge=1)
    minibatch_size: int = Field(ge=1)
    reward_weights: RewardWeights
    eval_prompts: int = Field(ge=1)

    @model_validator(mode="after")
    def _minibatches_hold_whole_groups(self) -> "GrpoParams":
        rollouts = self.prompts_per_step * self.group_size
        if self.minibatch_size % self.group_size or rollouts % self.minibatch_size:
            raise ValueError(
                f"minibatch_size {self.minibatch_size} must be a multiple of group_size {self.group_size} and divide "
                f"prompts_per_step x group_size = {rollouts}: change one of them"
            )
        return self
