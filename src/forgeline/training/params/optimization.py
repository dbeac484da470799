"""Parameters that the fine-tuning and alignment stages share."""

from typing import Literal

from pydantic import Field, model_validator

from forgeline.core.params import Section


class OptimizationParams(Section):
    """How the weights move: AdamW (Loshchilov & Hutter 2019) under a schedule. A step is an optimizer step.

    Attributes:
        num_steps: Optimizer steps of the whole run.
        learning_rate: Peak of the schedule.
        weight_decay: Decoupled weight decay.
        schedule: Shape of the learning rate after warmup; linear and cosine end at 0.
        warmup_steps: Steps of linear rise.
        max_grad_norm: Gradients are scaled to at most this 2-norm.
        seed: Of new weights, data order and sampling.
        checkpoint_every_steps: How much work a kill can cost.
    """

    num_steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    schedule: Literal["constant", "linear", "cosine"]
    warmup_steps: int = Field(ge=0)
    max_grad_norm: float = Field(gt=0)
    seed: int = Field(ge=0)
    checkpoint_every_steps: int = Field(ge=1)

    @model_validator(mode="after")
    def _warmup_fits(self) -> "OptimizationParams":
        if self.warmup_steps > self.num_steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} exceeds num_steps {self.num_steps}: lower it")
        return self


class BatchedParams(OptimizationParams):
    """Optimization over a fixed set of records.

    Attributes:
        micro_batch_size: Records of one forward pass.
        gradient_accumulation_steps: Forward passes of one step. The step's records are ordered by length first, so more
            and smaller micro-batches mean less padding, and the step stays the same.
        max_length: Tokens of the longest record; longer ones are dropped and counted, never cut.
        eval_every_steps: How often the validation records are measured.
    """

    micro_batch_size: int = Field(ge=1)
    gradient_accumulation_steps: int = Field(ge=1)
    max_length: int = Field(ge=8)
    eval_every_steps: int = Field(ge=1)

    @property
    def batch_size(self) -> int:
        """Records of one optimizer step."""
        return self.micro_batch_size * self.gradient_accumulation_steps
