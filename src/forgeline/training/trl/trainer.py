"""TRL trainers run our way: everything explicit, exact resume, one history.

The Trainer's own evaluation is off: it averages batch means. Validation is measured by our functions, over records.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import huggingface_hub.constants
import torch
import transformers
import trl.trainer.utils
from transformers import PrinterCallback, Trainer, TrainingArguments

from forgeline.core.errors import ParamsError, StopRequested
from forgeline.core.process import StopSignal
from forgeline.core.progress import progress
from forgeline.model.params import ComputeParams
from forgeline.training.order import record_order
from forgeline.training.params.optimization import BatchedParams
from forgeline.training.trl.best import BestWeights
from forgeline.training.trl.callbacks import (
    COMPLETE,
    CheckpointCallback,
    CurveCallback,
    Evaluate,
    LogStep,
    ValidationCallback,
)

HistoryRow = dict[str, float | int | None]
ArgumentsT = TypeVar("ArgumentsT", bound=TrainingArguments)

COLUMNS = {"loss": "train_loss", "learning_rate": "learning_rate", "grad_norm": "grad_norm"}
_KEPT_CHECKPOINTS = 2
_SCHEDULERS = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


@dataclass(frozen=True)
class Context:
    """Where a run computes and keeps its checkpoints, and who is told its figures.

    Attributes:
        compute: Section `compute`.
        device: As `set_up` returned it.
        scratch: Folder that only a rerun of the same work finds.
        log: Told step and figures, for live curves.
    """

    compute: ComputeParams
    device: torch.device
    scratch: Path
    log: LogStep


def training_arguments(
    config: type[ArgumentsT], params: BatchedParams, context: Context, **specific: Any
) -> ArgumentsT:
    """The arguments of one TRL trainer, with whatever TRL or transformers would default to our disadvantage set.

    Args:
        config: TRL's configuration class.
        params: The stage's section.
        context: Precision, device and scratch folder.
        specific: What only this trainer takes.

    Raises:
        ParamsError: Float16 on a CPU, which transformers' trainer does not do.
    """
    if context.compute.precision == "fp16" and context.device.type == "cpu":
        raise ParamsError("compute.precision fp16 needs a GPU in this stage: set it to bf16")
    _adapt_trl()
    values = dict(
        output_dir=str(context.scratch),
        max_steps=params.num_steps,
        per_device_train_batch_size=params.micro_batch_size,
        gradient_accumulation_steps=params.gradient_accumulation_steps,
        learning_rate=params.learning_rate,
        weight_decay=params.weight_decay,
        lr_scheduler_type=_SCHEDULERS[params.schedule],
        warmup_steps=params.warmup_steps,
        max_grad_norm=params.max_grad_norm,
        optim="adamw_torch_fused",
        seed=params.seed,
        bf16=context.compute.precision == "bf16",
        fp16=context.compute.precision == "fp16",
        use_cpu=context.device.type == "cpu",
        activation_checkpointing=False,
        train_sampling_strategy="sequential",  # `arrange` has decided the order
        dataloader_num_workers=0,
        dataloader_drop_last=False,  # nothing to drop: the rows are whole steps
        dataloader_pin_memory=False,
        eval_strategy="no",
        save_strategy="steps",
        save_steps=params.checkpoint_every_steps,
        save_total_limit=_KEPT_CHECKPOINTS,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
    )
    arguments: ArgumentsT = config(**{**values, **specific})
    return arguments


def arrange(lengths: Sequence[int], params: BatchedParams) -> list[int]:
    """Which record each row of the training set is: all steps one after the other.

    The records of a step are sorted by length, so that micro-batches hold little padding. The loss is taken over the
    whole step, so the step is the same, and the order of steps still comes from the seed alone.

    Args:
        lengths: Tokens of each record.
        params: Seed, steps and batch size.
    """
    size = params.batch_size
    order = record_order(len(lengths), params.num_steps * size, params.seed)
    steps = [order[start : start + size] for start in range(0, len(order), size)]
    return [record for step in steps for record in sorted(step, key=lambda record: (lengths[record], record))]


def fit(
    trainer: Trainer,
    name: str,
    params: BatchedParams,
    context: Context,
    evaluate: Evaluate,
    *,
    before_training: bool,
    columns: Mapping[str, str],
    keep_best: BestWeights | None = None,
) -> list[HistoryRow]:
    """Trains to the end, from the newest complete checkpoint if there is one, and returns the history.

    Args:
        trainer: A TRL trainer whose rows `arrange` has ordered.
        name: What the progress bar shows.
        params: The stage's section.
        context: Scratch folder and live log.
        evaluate: Measures validation records.
        before_training: Whether to measure the untrained model too.
        columns: The Trainer's names of the figures to keep, with ours.
        keep_best: Told of every measurement of validation records.

    Raises:
        StopRequested: SIGTERM or Ctrl-C came; a checkpoint was saved first.
        ForgelineError: The loss is no longer finite.
    """
    trainer.remove_callback(PrinterCallback)
    resume = newest_checkpoint(context.scratch)
    unit = params.batch_size
    with StopSignal() as stop, progress(name, params.num_steps * unit, "records") as bar:
        trainer.add_callback(
            ValidationCallback(evaluate, params.eval_every_steps, before_training, context.log, keep_best)
        )
        trainer.add_callback(CurveCallback(columns, context.log, bar, unit))
        trainer.add_callback(CheckpointCallback(stop))
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    step = trainer.state.global_step
    if step < params.num_steps:
        raise StopRequested(f"stopped: checkpoint at step {step} saved; run the same command to resume")
    return history_rows(trainer.state.log_history, columns)


def newest_checkpoint(scratch: Path) -> Path | None:
    """The latest checkpoint that was written completely; unfinished ones are removed."""
    folders = sorted(scratch.glob("checkpoint-*"), key=lambda folder: int(folder.name.rpartition("-")[2]))
    complete = [folder for folder in folders if (folder / COMPLETE).exists()]
    for folder in folders:
        if folder not in complete:
            shutil.rmtree(folder)
    return complete[-1] if complete else None


def history_rows(log_history: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> list[HistoryRow]:
    """One row a step, from what the Trainer logged and what `ValidationCallback` added; None where not measured.

    The latter's columns are in alphabetical order: a resumed run reads them from the Trainer's state, sorted.
    """
    steps: dict[int, HistoryRow] = {}
    validated: set[str] = set()
    for entry in log_history:
        if "loss" in entry:
            figures = {ours: entry[theirs] for theirs, ours in columns.items()}
        elif "train_runtime" in entry:  # the Trainer's closing line: measured times
            continue
        else:
            figures = {key: value for key, value in entry.items() if key != "step"}
            validated |= figures.keys()
        steps.setdefault(entry["step"], {}).update(figures)
    names = [*columns.values(), *sorted(validated)]
    return [{"step": step, **{name: steps[step].get(name) for name in names}} for step in sorted(steps)]


def last(history: Sequence[HistoryRow], column: str) -> float:
    """The newest measured value of a column."""
    return next(float(value) for row in reversed(history) if (value := row[column]) is not None)


def _adapt_trl() -> None:
    """What TRL 1.16 and transformers 5.23 have no argument for."""
    transformers.logging.set_verbosity_error()
    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True  # every trainer would call the hub
    # The output head scores only positions with a label on GPUs and all positions elsewhere; the result is the same.
    # On a CPU the former makes a fine-tuning step 2.3 times faster (3M parameters, vocabulary 4,096).
    trl.trainer.utils._use_triton = lambda device: True
