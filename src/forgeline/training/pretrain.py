"""Pretraining: next-token prediction over packed windows, on one device or several through accelerate."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from forgeline.core.errors import StopRequested
from forgeline.core.process import StopSignal
from forgeline.core.progress import announce_resume, progress
from forgeline.packing.dataset import TokenDataset
from forgeline.packing.mixture import MixtureOrder, observed_mix
from forgeline.training.loop.checkpoints import Checkpoints
from forgeline.training.loop.objective import next_token_loss, require_finite, split_window
from forgeline.training.loop.optimizers.build import build_optimizers, clip_gradients, set_learning_rate_factor
from forgeline.training.loop.head_loss import draw_labels
from forgeline.training.loop.optimizers.sophia import Sophia, label_uniforms
from forgeline.training.loop.schedules import Measurement, learning_rate_factor
from forgeline.training.params.pretrain import PretrainParams

HistoryRow = dict[str, float | int | None]
LogStep = Callable[[int, dict[str, float]], None]


@dataclass
class PretrainResult:
    """The curve of a finished run; the weights are in the model that was passed in."""

    history: list[HistoryRow] = field(default_factory=list)

    def last(self, key: str) -> float:
        """The newest measured value of a column."""
        return next(float(row[key]) for row in reversed(self.history) if row[key] is not None)  # type: ignore[arg-type]

    def first(self, key: str) -> float:
        """The first measured value of a column."""
        return next(float(row[key]) for row in self.history if row[key] is not None)  # type: ignore[arg-type]


def pretrain(
    model: nn.Module,
    train: TokenDataset,
    validation: TokenDataset,
    params: PretrainParams,
    *,
    accelerator: Accelerator,
    checkpoints: Path,
    log: LogStep,
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

    Raises:
        StopRequested: SIGTERM or Ctrl-C came; a checkpoint was saved first.
        ForgelineError: The loss is no longer finite.
    """
    run = _Run(model, train, validation, params, accelerator, Checkpoints(checkpoints, keep=2))
    unit = train.sequence_length * params.micro_batch_size * params.gradient_accumulation_steps
    with StopSignal() as stop, progress("pretrain", params.num_steps * unit, "tokens") as bar:
        bar(run.step * unit)
        while run.step < params.num_steps:
            row = run.train_step()
            log(run.step, {key: value for key, value in row.items() if value is not None and key != "step"})
            bar(unit, note=f"loss {row['train_loss']:.3f}")
            if stop.requested or run.step % params.checkpoint_every_steps == 0:
                run.save()
            if stop.requested and run.step < params.num_steps:
                raise StopRequested(f"stopped: checkpoint at step {run.step} saved, `dvc repro` goes on from there")
    return PretrainResult(run.history)


def summary(
    result: PretrainResult, model: nn.Module, train: TokenDataset, validation: TokenDataset, params: PretrainParams
) -> dict[str, Any]:
    """The figures of the metrics file: loss, perplexity and bits per byte before and after, and what was read."""
    num_windows = params.num_steps * params.gradient_accumulation_steps * params.micro_batch_size
    num_tokens = num_windows * train.sequence_length
    sources = train.source_windows()
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    before, after = result.first("validation_loss"), result.last("validation_loss")
    return {
        "num_parameters": num_parameters,
        "num_tokens_seen": num_tokens,
        "equivalent_epochs": num_tokens / (len(train) * train.sequence_length),
        "tokens_per_parameter": num_tokens / num_parameters,  # about 20 is compute-optimal: Hoffmann et al. 2022
        "source_mix": observed_mix(MixtureOrder(sources, train.weights, params.seed), sources, num_windows),
        "untrained": _held_out(before, validation),
        "final": {
            "train_loss": result.last("train_loss") if params.num_steps else None,
            **_held_out(after, validation),
        },
    }


def _held_out(loss: float, validation: TokenDataset) -> dict[str, float]:
    return {
        "validation_loss": loss,
        "validation_perplexity": math.exp(loss),
        "validation_bits_per_byte": loss / math.log(2) / validation.bytes_per_token,
    }


def _measurements(history: list[HistoryRow]) -> list[Measurement]:
    """The validation losses of a history, each with the number of steps before it."""
    losses = ((row["step"], row["validation_loss"]) for row in history)
    return [(int(step), float(loss)) for step, loss in losses if step is not None and loss is not None]


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
    ) -> None:
        self.params = params
        self.train = train
        self.validation = validation
        self.accelerator = accelerator
        self.checkpoints = checkpoints
        self.order = MixtureOrder(train.source_windows(), train.weights, params.seed)
        self.step = 0
        self.history: list[HistoryRow] = []
        saved = checkpoints.load_latest()
        if saved is not None:
            model.load_state_dict(saved["model"])
        self.model: nn.Module = accelerator.prepare(model)
        optimizers = build_optimizers(params.optimizer, model)
        self.sophia = next((optimizer for optimizer in optimizers if isinstance(optimizer, Sophia)), None)
        self.optimizers: list[Optimizer] = [accelerator.prepare(optimizer) for optimizer in optimizers]
        if saved is not None:
            self._restore(saved)
        else:
            self.history.append(self._row(train_loss=None, learning_rate=None, validation_loss=self.validation_loss()))
        self.measured = _measurements(self.history)

    def train_step(self) -> HistoryRow:
        """One optimizer step over `gradient_accumulation_steps` micro-batches; returns its history row."""
        params = self.params
        factor = learning_rate_factor(params.schedule, self.step, params.num_steps, self.measured)
        set_learning_rate_factor(self.optimizers, factor)
        if self.sophia is not None and self.sophia.needs_hessian(self.step):
            self._estimate_hessian(self.sophia)
        loss = self._accumulate_gradients()
        require_finite(loss, self.step)
        clip_gradients(self.model.parameters(), params.max_grad_norm)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        measure = self.step % params.eval_every_steps == 0 or self.step == params.num_steps
        row = self._row(
            train_loss=loss,
            learning_rate=params.optimizer.learning_rate * factor,
            validation_loss=self.validation_loss() if measure else None,
        )
        self.history.append(row)
        self.measured += _measurements([row])
        return row

    def _estimate_hessian(self, sophia: Sophia) -> None:
        """Shows the optimizer the gradients of the step's loss on labels that the model itself draws."""
        params = self.params
        shape = (params.gradient_accumulation_steps, params.micro_batch_size, self.train.sequence_length)
        uniforms = label_uniforms(params.seed, self.step, shape)
        self._accumulate_gradients(uniforms)
        sophia.update_hessian(num_labels=uniforms.numel())
        sophia.zero_grad()

    def _accumulate_gradients(self, uniforms: Tensor | None = None) -> float:
        """Gradients of the step's mean loss over all supervised tokens of all processes; returns that loss.

        Args:
            uniforms: Random numbers (micro-batches, windows of all processes, sequence_length) to draw labels from the
                model's own distribution with, or None for the true labels.
        """
        num_micro = self.params.gradient_accumulation_steps
        batches = [self._micro_batch(number) for number in range(num_micro)]
        num_tokens = sum(labels.numel() for _, labels in batches) * self.accelerator.num_processes
        total = torch.zeros((), device=self.accelerator.device)
        for number, (inputs, labels) in enumerate(batches):
            last = number == num_micro - 1
            with self.accelerator.autocast():
                logits = self.model(input_ids=inputs, use_cache=False).logits
            if uniforms is not None:
                labels = draw_labels(logits, labels, self._share(uniforms[number]))
            loss_sum, _ = next_token_loss(logits, labels)
            # Data-parallel training averages gradients over processes; the loss is a sum over them.
            scaled = loss_sum * self.accelerator.num_processes / num_tokens
            if last:
                self.accelerator.backward(scaled)
            else:
                with self.accelerator.no_sync(self.model):
                    self.accelerator.backward(scaled)
            total += loss_sum.detach()
        return float(self.accelerator.reduce(total, reduction="sum") / num_tokens)

    def _micro_batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Inputs and labels of this process's share of a micro-batch, each (windows, sequence_length)."""
        share = self.params.micro_batch_size // self.accelerator.num_processes
        micro = self.step * self.params.gradient_accumulation_steps + number
        start = micro * self.params.micro_batch_size + self.accelerator.process_index * share
        windows = torch.from_numpy(self.train.windows(self.order.indices(start, share)))
        return split_window(windows.to(self.accelerator.device))

    def _share(self, windows: Tensor) -> Tensor:
        """This process's rows of what is given for all windows of a micro-batch."""
        share = len(windows) // self.accelerator.num_processes
        return windows.narrow(0, self.accelerator.process_index * share, share)

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Nats per token over the first `eval_windows` validation windows."""
        self.model.eval()
        loss = torch.zeros((), device=self.accelerator.device, dtype=torch.float64)
        num_tokens = 0
        count = min(self.params.eval_windows, len(self.validation))
        share = max(1, self.params.micro_batch_size // self.accelerator.num_processes)
        for start in range(0, count, share):
            windows = self.validation.windows(np.arange(start, min(start + share, count), dtype=np.int64))
            inputs, labels = split_window(torch.from_numpy(windows).to(self.accelerator.device))
            with self.accelerator.autocast():
                logits = self.model(input_ids=inputs, use_cache=False).logits
            loss_sum, tokens = next_token_loss(logits, labels)
            loss += loss_sum
            num_tokens += tokens
        self.model.train()
        return float(loss / num_tokens)

    def save(self) -> None:
        """Writes a checkpoint that holds everything the rest of the run depends on."""
        if not self.accelerator.is_main_process:
            return
        self.checkpoints.save(
            self.step,
            {
                "model": self.accelerator.unwrap_model(self.model).state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "torch_generator": torch.get_rng_state(),
                "history": self.history,
            },
        )

    def _restore(self, saved: dict[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        torch.set_rng_state(saved["torch_generator"])
        self.step = saved["step"]
        self.history = saved["history"]
        announce_resume(self.step)

    def _row(self, **values: float | None) -> HistoryRow:
        return {"step": self.step, **values}
