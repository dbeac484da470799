"""What our runs of the Hugging Face Trainer do at each step besides training."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from forgeline.core.errors import ForgelineError
from forgeline.core.process import StopSignal
from forgeline.core.progress import ProgressBar, announce_resume
from forgeline.training.trl.best import BestWeights

LogStep = Callable[[int, Mapping[str, float]], None]
Evaluate = Callable[[torch.nn.Module], dict[str, float]]

COMPLETE = "complete"  # stands in a checkpoint folder once the Trainer has written all of it


class CurveCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy
    """Passes on the figures of every step, and stops a run whose loss is no longer a number."""

    def __init__(self, columns: Mapping[str, str], log: LogStep, bar: ProgressBar, batch_size: int) -> None:
        """Takes the Trainer's names of the figures with ours, and where they go."""
        self._columns = columns
        self._log = log
        self._bar = bar
        self._batch_size = batch_size

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Moves the bar to where a resumed run goes on."""
        if state.global_step:
            announce_resume(state.global_step)
        self._bar(state.global_step * self._batch_size)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Told the step's figures right after it."""
        if not logs or "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise ForgelineError(
                f"the loss became {logs['loss']} at step {state.global_step}: lower learning_rate or max_grad_norm"
            )
        self._log(state.global_step, {ours: logs[theirs] for theirs, ours in self._columns.items()})
        self._bar(self._batch_size, note=f"loss {logs['loss']:.3f}")


class ValidationCallback(TrainerCallback):  # type: ignore[misc]
    """Measures held-out records now and then. The figures join the Trainer's history, so they survive a resume."""

    def __init__(
        self,
        evaluate: Evaluate,
        every_steps: int,
        before_training: bool,
        log: LogStep,
        best: BestWeights | None = None,
    ) -> None:
        """Takes the measurement and how often it is made; it always is after the last step."""
        self._best = best
        self._evaluate = evaluate
        self._every_steps = every_steps
        self._before_training = before_training
        self._log = log

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measures the untrained model, unless the run is resumed."""
        if self._before_training and state.global_step == 0:
            self._measure(state, kwargs["model"])

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measures every few steps; the checkpoint of the step is written afterwards and holds the result."""
        if state.global_step % self._every_steps == 0 or state.global_step == state.max_steps:
            self._measure(state, kwargs["model"])

    def _measure(self, state: TrainerState, model: torch.nn.Module) -> None:
        figures = self._evaluate(model)
        state.log_history.append({"step": state.global_step, **figures})
        if self._best is not None and state.global_step:
            self._best.consider(state.log_history, model)
        self._log(state.global_step, figures)


class CheckpointCallback(TrainerCallback):  # type: ignore[misc]
    """Marks finished checkpoints, and on a stop signal saves one more and ends the training."""

    def __init__(self, stop: StopSignal) -> None:
        """Takes the signal to watch."""
        self._stop = stop

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The safe point: the step is done, the next has not begun."""
        if self._stop.requested:
            control.should_save = True
            control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Called when the last file of the checkpoint is written."""
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()
