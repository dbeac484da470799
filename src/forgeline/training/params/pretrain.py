"""Parameters of pretraining."""

from typing import Literal

from pydantic import Field, model_validator

from forgeline.core.params import Section


class PretrainParams(Section):
    """Section `pretrain`. A step is an optimizer step, whatever the accumulation.

    Attributes:
        init_from: Model folder to continue from, or null to start from random weights.
        num_steps: Optimizer steps; 0 only pins the model of `init_from`.
        micro_batch_size: Windows of one forward pass, over all processes.
        gradient_accumulation_steps: Forward passes of one step.
        optimizer: `adamw`, or `muon` for hidden matrices with AdamW for the rest.
        learning_rate: AdamW's peak.
        muon_learning_rate: Muon's peak.
        betas: AdamW's decay rates.
        weight_decay: Decoupled weight decay.
        schedule: Shape of the learning rate after warmup.
        warmup_steps: Steps of linear rise.
        min_learning_rate_fraction: Where the schedule ends, relative to the peak.
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
    optimizer: Literal["adamw", "muon"]
    learning_rate: float = Field(gt=0)
    muon_learning_rate: float = Field(gt=0)
    betas: list[float] = Field(min_length=2, max_length=2)
    weight_decay: float = Field(ge=0)
    schedule: Literal["constant", "linear", "cosine"]
    warmup_steps: int = Field(ge=0)
    min_learning_rate_fraction: float = Field(ge=0, le=1)
    max_grad_norm: float = Field(gt=0)
    seed: int = Field(ge=0)
    eval_every_steps: int = Field(ge=1)
    eval_windows: int = Field(ge=1)
    checkpoint_every_steps: int = Field(ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> "PretrainParams":
        if self.init_from is None and self.num_steps == 0:
            raise ValueError("num_steps 0 without init_from would leave random weights: set one of them")
        if self.warmup_steps > self.num_steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} exceeds num_steps {self.num_steps}: lower it")
        return self
