"""Parameters of pretraining."""

from pydantic import Field, model_validator

from forgeline.core.params import Section
from forgeline.training.loop.optimizers.params import OptimizerParams
from forgeline.training.loop.schedule_params import Schedule, WarmupStableDecaySchedule


class PretrainParams(Section):
    """Section `pretrain`. A step is an optimizer step, whatever the accumulation.

    Attributes:
        init_from: Model folder to continue from, or null to start from random weights.
        num_steps: Optimizer steps; 0 only pins the model of `init_from`.
        micro_batch_size: Windows of one forward pass, over all processes.
        gradient_accumulation_steps: Forward passes of one step.
        optimizer: Which one, and its knobs.
        schedule: Which course the learning rate takes, and its knobs.
        max_grad_norm: Gradients are scaled to at most this 2-norm.
        seed: Of initial weights and data order.
        eval_every_steps: How often the validation loss is measured.
        eval_windows: Validation windows it is measured on, the same ones each time.
        checkpoint_every_steps: How much work a kill can cost.
    """

    init_from: str | None
    num_steps: int = Field(ge=0)
    micro_batch_size: int = Field(ge=1)
    gradient_accumulation_steps: int = Field(ge=1)
    optimizer: OptimizerParams
    schedule: Schedule
    max_grad_norm: float = Field(gt=0)
    seed: int = Field(ge=0)
    eval_every_steps: int = Field(ge=1)
    eval_windows: int = Field(ge=1)
    checkpoint_every_steps: int = Field(ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> "PretrainParams":
        if self.init_from is None and self.num_steps == 0:
            raise ValueError("num_steps 0 without init_from would leave random weights: set one of them")
        warmup = self.schedule.warmup_steps
        if warmup > self.num_steps:
            raise ValueError(f"schedule.warmup_steps {warmup} exceeds num_steps {self.num_steps}: lower it")
        if isinstance(self.schedule, WarmupStableDecaySchedule):
            decay = self.schedule.decay_steps
            if warmup + decay > self.num_steps:
                raise ValueError(
                    f"schedule.warmup_steps {warmup} and schedule.decay_steps {decay} together exceed num_steps "
                    f"{self.num_steps}: lower one"
                )
        return self
