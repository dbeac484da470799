"""Parameters of pretraining."""

from itertools import accumulate, pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from forgeline.core.params import Section
from forgeline.training.loop.optimizers.params import MuonParams, OptimizerParams
from forgeline.training.loop.schedule_params import Schedule, WarmupStableDecaySchedule
from forgeline.training.params.lora import LoraParams

Weight = Annotated[float, Field(ge=0)]
_SHARE_TOLERANCE = 1e-6  # thirds do not add up to 1 in decimals of six digits


class PhaseParams(Section):
    """A stretch of the run with a mixture of its own.

    Attributes:
        share: Of all optimizer steps; or null, with `num_steps`.
        num_steps: Its optimizer steps; or null, with `share`.
        weights: Of the sources, relative to each other; a source that is not named is not read.
    """

    share: float | None = Field(gt=0, le=1)
    num_steps: int | None = Field(ge=1)
    weights: dict[str, Weight] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> "PhaseParams":
        if (self.share is None) == (self.num_steps is None):
            raise ValueError("a phase has either share or num_steps: set the other one to null")
        if not any(self.weights.values()):
            raise ValueError("all weights of a phase are 0: give one source a positive weight")
        return self


class PretrainParams(Section):
    """Section `pretrain`. A step is an optimizer step, whatever the accumulation.

    Attributes:
        init_from: Model to continue from (a folder, a .gguf file, or owner/name@commit of the hub), or null to start
            from random weights.
        peft: `none` trains all weights, `lora` an adapter, which is merged into the weights at the end.
        lora: The adapter; only read with `peft: lora`.
        train_embeddings: With an adapter: whether embeddings and output head are trained too, all of them, only the
            rows that extending the vocabulary has added, or none.
        num_steps: Optimizer steps; 0 only pins the model of `init_from`.
        num_processes: Processes that share every micro-batch, usually one for each GPU.
        parallel: How more than one process share the work: a file of configs/accelerate.
        micro_batch_size: Windows of one forward pass, over all processes.
        gradient_accumulation_steps: Forward passes of one step.
        phases: Mixtures of the sources one after the other; an empty list reads by the weights of the sources.
        document_mask: Whether a token attends only to its own document, and positions count from its start.
        compile: Whether torch compiles the model: half a minute at the first step, then faster ones.
        gradient_checkpointing: Whether what is inside a layer is computed again going back, instead of kept.
        optimizer: Which one, and its knobs.
        schedule: Which course the learning rate takes, and its knobs.
        max_grad_norm: Gradients are scaled to at most this 2-norm.
        spike_factor: A training loss above so many times the median of the last ones stops the run; null never does.
        seed: Of initial weights and data order.
        eval_every_steps: How often the validation loss is measured.
        eval_windows: Validation windows it is measured on, the same ones each time.
        checkpoint_every_steps: How much work a kill can cost.
        keep_checkpoints: How many of the last checkpoints are kept.
        final_weights: Which weights become the base model: the `last` ones, or the `best` by validation loss.
    """

    init_from: str | None
    peft: Literal["none", "lora"]
    lora: LoraParams
    train_embeddings: Literal["none", "new", "all"]
    num_steps: int = Field(ge=0)
    num_processes: int = Field(ge=1)
    parallel: Literal["ddp", "fsdp", "zero1", "zero2", "zero3"]
    micro_batch_size: int = Field(ge=1)
    gradient_accumulation_steps: int = Field(ge=1)
    phases: list[PhaseParams]
    document_mask: bool
    compile: bool
    gradient_checkpointing: bool
    optimizer: OptimizerParams
    schedule: Schedule
    max_grad_norm: float = Field(gt=0)
    spike_factor: float | None = Field(gt=1)
    seed: int = Field(ge=0)
    eval_every_steps: int = Field(ge=1)
    eval_windows: int = Field(ge=1)
    checkpoint_every_steps: int = Field(ge=1)
    keep_checkpoints: int = Field(ge=1)
    final_weights: Literal["last", "best"]

    @model_validator(mode="after")
    def _starts_from_something(self) -> "PretrainParams":
        if self.init_from is None and self.num_steps == 0:
            raise ValueError("num_steps 0 without init_from would leave random weights: set one of them")
        if self.init_from is None and self.peft == "lora":
            raise ValueError("peft lora without init_from would freeze random weights: set init_from, or peft to none")
        return self

    @model_validator(mode="after")
    def _schedule_fits(self) -> "PretrainParams":
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

    @model_validator(mode="after")
    def _processes_share_evenly(self) -> "PretrainParams":
        if self.micro_batch_size % self.num_processes:
            raise ValueError(
                f"micro_batch_size {self.micro_batch_size} is not a multiple of num_processes {self.num_processes}: "
                "each process takes an equal share; change one of them"
            )
        if self.num_processes > 1 and self.parallel.startswith("zero") and self.final_weights == "best":
            raise ValueError(f"parallel {self.parallel} keeps no best weights: set final_weights to last, or take fsdp")
        spread = self.num_processes > 1 and self.parallel != "ddp"
        if spread and self.peft == "lora":
            raise ValueError("peft lora is not spread: set parallel to ddp, or peft to none")
        if spread and isinstance(self.optimizer, MuonParams):
            raise ValueError(
                f"optimizer muon needs whole matrices, which parallel {self.parallel} cuts: take ddp or another "
                "optimizer"
            )
        return self

    @model_validator(mode="after")
    def _phases_fill_the_run(self) -> "PretrainParams":
        shares = [phase.share for phase in self.phases if phase.share is not None]
        steps = [phase.num_steps for phase in self.phases if phase.num_steps is not None]
        if shares and steps:
            raise ValueError("phases: give either all of them a share or all of them num_steps")
        if shares and abs(sum(shares) - 1) > _SHARE_TOLERANCE:
            raise ValueError(f"phases: their shares add up to {sum(shares):g}: make it 1")
        if steps and sum(steps) != self.num_steps:
            raise ValueError(f"phases: their steps add up to {sum(steps)}: make it num_steps, {self.num_steps}")
        if any(stop <= start for start, stop in self.phase_steps()):
            raise ValueError(f"phases: one is shorter than a step of {self.num_steps}: raise its share or num_steps")
        return self

    @property
    def windows_per_step(self) -> int:
        """Windows of one optimizer step, over all processes."""
        return self.micro_batch_size * self.gradient_accumulation_steps

    def phase_steps(self) -> list[tuple[int, int]]:
        """First step of each phase and the one after its last; steps are counted from 0."""
        lengths = [
            phase.num_steps if phase.num_steps is not None else (phase.share or 0.0) * self.num_steps
            for phase in self.phases
        ]
        return list(pairwise(round(edge) for edge in accumulate(lengths, initial=0.0)))
