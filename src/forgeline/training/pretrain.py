"""Pretraining: next-token prediction over packed windows, on one device or several through accelerate."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from forgeline.core.errors import ForgelineError, StopRequested
from forgeline.core.process import StopSignal
from forgeline.core.progress import announce_resume, announce_warning, progress
from forgeline.packing.dataset import TokenDataset
from forgeline.training.loop.checkpoints import Checkpoints
from forgeline.training.loop.optimizers.build import build_optimizers, set_learning_rate_factor
from forgeline.training.loop.optimizers.sophia import Sophia
from forgeline.training.loop.schedules import Measurement, learning_rate_factor
from forgeline.training.params.pretrain import PretrainParams
from forgeline.training.pretraining.batch import Batch, StepBatches, read_batch
from forgeline.training.pretraining.documents import require_document_mask
from forgeline.training.pretraining.figures import Speed, flops_per_token, peak_of
from forgeline.training.pretraining.objectives import Objective, next_token_objective, own_label_objective
from forgeline.training.pretraining.processes import (
    agreed,
    load_model_state,
    load_optimizer_state,
    model_state,
    optimizer_state,
    random_state,
    set_random_state,
    whole_copy,
)
from forgeline.training.pretraining.summary import HistoryRow, PretrainResult, measurements, recent_losses
from forgeline.training.pretraining.watch import RISES_TO_WARN, best_step, divergence, rises

LogStep = Callable[[int, dict[str, float]], None]
SaveModel = Callable[[nn.Module, Path], None]


def pretrain(
    model: nn.Module,
    train: TokenDataset,
    validation: TokenDataset,
    params: PretrainParams,
    *,
    accelerator: Accelerator,
    checkpoints: Path,
    log: LogStep,
    identity: str = "",
    save_model: SaveModel | None = None,
    objective: Objective = next_token_objective,
) -> PretrainResult:
    """Trains `model` in place; killed at any moment, a rerun goes on from the last checkpoint to the same bytes.

    Args:
        model: Returns logits (batch, time, vocabulary) for input ids.
        train: Windows to learn from.
        validation: Windows the loss is watched on.
        params: Section `pretrain`.
        accelerator: Device, precision and processes.
        checkpoints: Scratch folder of this very run.
        log: Told step and figures of every step, for live curves.
        identity: Of model, data and parameters; checkpoints of another one are passed over.
        save_model: Writes the last good weights into a folder when the run has to be given up.
        objective: What is minimized.

    Raises:
        StopRequested: SIGTERM or Ctrl-C came; a checkpoint was saved first.
        ForgelineError: The loss is no longer finite, or has jumped.
    """
    if params.document_mask:
        require_document_mask(model)
    kept = Checkpoints(checkpoints, params.keep_checkpoints, identity)
    run = _Run(model, train, validation, params, accelerator, kept, objective, save_model)
    unit = run.batches.tokens_per_step
    with StopSignal() as stop, progress("pretrain", params.num_steps * unit, "tokens") as bar:
        bar(run.step * unit)
        while run.step < params.num_steps:
            row, speed = run.train_step()
            log(run.step, {key: value for key, value in row.items() if value is not None and key != "step"} | speed)
            bar(unit, note=f"loss {row['train_loss']:.3f}")
            stopped = agreed(accelerator, stop.requested)
            if stopped or run.step % params.checkpoint_every_steps == 0:
                run.save()
            if stopped and run.step < params.num_steps:
                raise StopRequested(f"stopped: checkpoint at step {run.step} saved, `dvc repro` goes on from there")
    return run.finish()


class _Run:
    """The moving parts of a pretraining run and their saved form."""

    def __init__(
        self,
        model: nn.Module,
        train: TokenDataset,
        validation: TokenDataset,
        params: PretrainParams,
        accelerator: Accelerator,
        checkpoints: Checkpoints,
        objective: Objective,
        save_model: SaveModel | None,
    ) -> None:
        self.validation = validation
        self.params = params
        self.accelerator = accelerator
        self.checkpoints = checkpoints
        self.objective = objective
        self.save_model = save_model
        self.batches = StepBatches(
            train, params, process=accelerator.process_index, num_processes=accelerator.num_processes
        )
        self.frozen = {name for name, weights in model.named_parameters() if not weights.requires_grad}
        self.speed = _speed(model, self.batches, train.sequence_length, accelerator)
        optimizers = build_optimizers(params.optimizer, model)
        self.sophia = next((optimizer for optimizer in optimizers if isinstance(optimizer, Sophia)), None)
        prepared = accelerator.prepare(model, *optimizers)
        self.model: nn.Module = prepared[0]
        self.optimizers: list[Optimizer] = list(prepared[1:])
        self.step = 0
        self.history: list[HistoryRow] = []
        self.measured: list[Measurement] = []
        saved = checkpoints.load_latest()
        if saved is not None:
            self._restore(saved)
        else:
            self._note(train_loss=None, learning_rate=None, validation_loss=self.validation_loss())

    def train_step(self) -> tuple[HistoryRow, dict[str, float]]:
        """One optimizer step over all micro-batches; returns its history row and figures for the live log alone.

        Raises:
            ForgelineError: Loss or gradient are not fit to step with.
        """
        params, started = self.params, time.perf_counter()
        factor = learning_rate_factor(params.schedule, self.step, params.num_steps, self.measured)
        set_learning_rate_factor(self.optimizers, factor)
        batches = self.batches.of_step(self.step)
        if self.sophia is not None and self.sophia.needs_hessian(self.step):
            self._estimate_hessian(self.sophia, batches)
        loss, sums = self._accumulate_gradients(batches, [self.objective] * len(batches))
        norm = float(self.accelerator.clip_grad_norm_(self.model.parameters(), params.max_grad_norm))
        if trouble := divergence(loss, norm, recent_losses(self.history), params.spike_factor):
            raise ForgelineError(f"{trouble} at step {self.step}: {self._way_on()}")
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        seconds = time.perf_counter() - started
        self.step += 1
        measure = self.step % params.eval_every_steps == 0 or self.step == params.num_steps
        row = self._note(
            train_loss=loss,
            learning_rate=params.optimizer.learning_rate * factor,
            validation_loss=self.validation_loss() if measure else None,
        )
        return row, sums | {"gradient_norm": norm} | self.speed.figures(seconds)

    def _estimate_hessian(self, sophia: Sophia, batches: Sequence[Batch]) -> None:
        """Shows the optimizer the gradients of the step's loss on labels that the model itself draws."""
        uniforms = self.batches.uniforms(self.step)
        device = self.accelerator.device
        self._accumulate_gradients(batches, [own_label_objective(numbers.to(device)) for numbers in uniforms])
        sophia.update_hessian(num_labels=self.batches.tokens_per_step)
        sophia.zero_grad()

    def _accumulate_gradients(
        self, batches: Sequence[Batch], objectives: Sequence[Objective]
    ) -> tuple[float, dict[str, float]]:
        """Gradients of the step's loss per supervised token of all processes; returns it, and the objective's sums so.

        Args:
            batches: Micro-batches of this process.
            objectives: What is minimized on each.
        """
        accelerator = self.accelerator
        num_tokens = int(self._over_processes(torch.tensor(sum(batch.num_supervised for batch in batches))))
        totals: dict[str, Tensor] = {}
        for number, (batch, objective) in enumerate(zip(batches, objectives, strict=True)):
            last = number == len(batches) - 1
            accelerator.sync_gradients = last
            with nullcontext() if last else accelerator.no_sync(self.model):
                loss_sum, _, sums = objective(self.model, batch.to(accelerator.device))
                # Data-parallel training averages gradients over processes; the loss is a sum over them.
                accelerator.backward(loss_sum * accelerator.num_processes / num_tokens)
            for name, value in ({"loss": loss_sum} | sums).items():
                totals[name] = totals.get(name, 0) + value.detach()
        means = {name: float(self._over_processes(total) / num_tokens) for name, total in totals.items()}
        return means.pop("loss"), means

    def _over_processes(self, value: Tensor) -> Tensor:
        total: Tensor = self.accelerator.reduce(value.to(self.accelerator.device), reduction="sum")
        return total

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Nats per token over the first `eval_windows` validation windows."""
        self.model.eval()
        loss = torch.zeros((), device=self.accelerator.device, dtype=torch.float64)
        num_tokens = 0
        count = min(self.params.eval_windows, len(self.validation))
        share = self.params.micro_batch_size // self.accelerator.num_processes
        for start in range(0, count, share):
            indices = np.arange(start, min(start + share, count), dtype=np.int64)
            batch = read_batch(self.validation, indices, self.params.document_mask)
            loss_sum, tokens, _ = next_token_objective(self.model, batch.to(self.accelerator.device))
            loss += loss_sum
            num_tokens += tokens
        self.model.train()
        return float(loss / num_tokens)

    def _note(self, **values: float | None) -> HistoryRow:
        """Adds a row to the history; a measured validation loss may be the best so far, or one rise too many."""
        row: HistoryRow = {"step": self.step, **values}
        self.history.append(row)
        measured = measurements([row])
        self.measured += measured
        if not measured:
            return row
        if rises(self.measured)[-1:] == [self.step]:
            announce_warning(
                f"pretrain: the validation loss has risen {RISES_TO_WARN} times in a row up to step {self.step}: the "
                "model may be learning its text by heart; add text, lower num_steps, or keep final_weights: best"
            )
        if self.params.final_weights == "best" and best_step(self.measured) == self.step:
            self._write(self.checkpoints.save_best, self._weights())
        return row

    def _weights(self) -> dict[str, Any]:
        """What training changes; frozen weights come from where the model came from."""
        state = model_state(self.accelerator, self.model)
        return {"model": {name: value for name, value in state.items() if name not in self.frozen}}

    def save(self) -> None:
        """Writes a checkpoint that holds everything the rest of the run depends on."""
        state = {
            **self._weights(),
            "optimizers": [optimizer_state(self.accelerator, self.model, value) for value in self.optimizers],
            "generators": random_state(),
            "history": self.history,
        }
        self._write(self.checkpoints.save, state)

    def _write(self, save: Callable[[int, dict[str, Any]], None], state: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            save(self.step, state)
        self.accelerator.wait_for_everyone()

    def _restore(self, saved: dict[str, Any]) -> None:
        load_model_state(self.accelerator, self.model, saved["model"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            load_optimizer_state(self.accelerator, self.model, optimizer, state)
        set_random_state(saved["generators"])
        self.step = saved["step"]
        self.history = saved["history"]
        self.measured = measurements(self.history)
        announce_resume(self.step)

    def finish(self) -> PretrainResult:
        """The result, with the chosen weights in the model."""
        chosen = self.step
        if self.params.final_weights == "best":
            best = self.checkpoints.load_best()
            if best is None:
                raise ForgelineError("the best weights are gone from the scratch folder: run the stage again")
            load_model_state(self.accelerator, self.model, best["model"])
            chosen = best["step"]
        return PretrainResult(self.history, chosen, whole_copy(self.accelerator, self.model))

    def _way_on(self) -> str:
        """What a user can do about a run that has diverged, with the last good weights saved as a model if possible."""
        knobs = "lower the learning rate or max_grad_norm, or raise schedule.warmup_steps"
        saved = self.checkpoints.load_latest()
        if saved is None or self.save_model is None:
            return f"{knobs}, and run again"
        load_model_state(self.accelerator, self.model, saved["model"])
        folder = self.checkpoints.folder / "last-good"
        whole = whole_copy(self.accelerator, self.model)
        if self.accelerator.is_main_process:
            self.save_model(whole, folder)
        return (
            f"{knobs}, and run again from the start, or set pretrain.init_from to {folder}, which holds the good "
            f"weights of step {saved['step']}"
        )


def _speed(model: nn.Module, batches: StepBatches, sequence_length: int, accelerator: Accelerator) -> Speed:
    dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32
    peak = peak_of(accelerator.device, dtype)
    flops = flops_per_token(model, sequence_length) * batches.tokens_per_step
    return Speed(flops, batches.tokens_per_step, peak, accelerator.num_processes, accelerator.device)
