"""Pretraining: next-token prediction over packed windows, on one device or several through accelerate."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from forgeline.core.errors import ForgelineError, StopRequested
from forgeline.core.process import StopSignal
from forgeline.core.progress import announce_fact, announce_warning, progress
from forgeline.packing.dataset import TokenDataset
from forgeline.training.loop.checkpoints import Checkpoints
from forgeline.training.loop.optimizers.build import build_optimizers, set_learning_rate_factor
from forgeline.training.loop.optimizers.sophia import Sophia
from forgeline.training.loop.schedules import learning_rate_factor
from forgeline.training.params.pretrain import PretrainParams
from forgeline.training.pretraining.batch import Batch, StepBatches
from forgeline.training.pretraining.documents import require_document_mask
from forgeline.training.pretraining.evaluation import validation_loss
from forgeline.training.pretraining.figures import Speed, flops_per_token, peak_of
from forgeline.training.pretraining.objectives import Objective, next_token_objective, own_label_objective
from forgeline.training.pretraining.processes import agreed
from forgeline.training.pretraining.state import RunState, SaveModel
from forgeline.training.pretraining.summary import HistoryRow, PretrainResult, measurements, recent_losses
from forgeline.training.pretraining.watch import RISES_TO_WARN, best_step, divergence, rises

LogStep = Callable[[int, dict[str, float]], None]


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
    float16: bool = False,
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
        float16: Multiply matrices in float16 and scale the loss; bfloat16 is the accelerator's business.

    Raises:
        StopRequested: SIGTERM or Ctrl-C came; a checkpoint was saved first.
        ForgelineError: The loss is no longer finite, or has jumped.
    """
    if params.document_mask:
        require_document_mask(model)
    batches = StepBatches(train, params, process=accelerator.process_index, num_processes=accelerator.num_processes)
    kept = Checkpoints(checkpoints, params.keep_checkpoints, identity)
    run = _Run(model, batches, validation, params, accelerator, kept, objective, save_model, float16)
    unit, state = batches.tokens_per_step, run.state
    with StopSignal() as stop, progress("pretrain", params.num_steps * unit, "tokens") as bar:
        bar(state.step * unit)
        while state.step < params.num_steps:
            row, speed = run.train_step()
            log(state.step, {key: value for key, value in row.items() if value is not None and key != "step"} | speed)
            bar(unit, note=f"loss {row['train_loss']:.3f}")
            stopped = agreed(accelerator, stop.requested)
            if stopped or state.step % params.checkpoint_every_steps == 0:
                state.save()
            if stopped and state.step < params.num_steps:
                raise StopRequested(f"stopped: checkpoint at step {state.step} saved, `dvc repro` goes on from there")
    return run.finish()


class _Run:
    """One run: what is done in a step, and what is noted of it."""

    def __init__(
        self,
        model: nn.Module,
        batches: StepBatches,
        validation: TokenDataset,
        params: PretrainParams,
        accelerator: Accelerator,
        checkpoints: Checkpoints,
        objective: Objective,
        save_model: SaveModel | None,
        float16: bool,
    ) -> None:
        self.batches = batches
        self.validation = validation
        self.params = params
        self.accelerator = accelerator
        self.objective = objective
        self.save_model = save_model
        self.speed = _speed(model, batches, accelerator, float16)
        optimizers = build_optimizers(params.optimizer, model)
        self.sophia = next((optimizer for optimizer in optimizers if isinstance(optimizer, Sophia)), None)
        self.state = RunState(model, optimizers, params, accelerator, checkpoints, float16)
        if not self.state.restore():
            self._note(train_loss=None, learning_rate=None, validation_loss=self._validation_loss())

    def train_step(self) -> tuple[HistoryRow, dict[str, float]]:
        """One optimizer step over all micro-batches; returns its history row and figures for the live log alone.

        Raises:
            ForgelineError: Loss or gradient are not fit to step with.
        """
        params, state, started = self.params, self.state, time.perf_counter()
        factor = learning_rate_factor(params.schedule, state.step, params.num_steps, state.measured)
        set_learning_rate_factor(state.optimizers, factor)
        batches = self.batches.of_step(state.step)
        if self.sophia is not None and self.sophia.needs_hessian(state.step):
            self._estimate_hessian(self.sophia, batches)
        loss, sums = self._gradients(batches, [self.objective] * len(batches))
        norm = float(self.accelerator.clip_grad_norm_(state.model.parameters(), params.max_grad_norm))
        if trouble := divergence(loss, norm, recent_losses(state.history), params.spike_factor):
            raise ForgelineError(f"{trouble} at step {state.step}: {state.way_on(self.save_model)}")
        for optimizer in state.optimizers:
            optimizer.step()
        self._clear_gradients()
        state.loss_scale.note_step()
        seconds = time.perf_counter() - started
        state.step += 1
        measure = state.step % params.eval_every_steps == 0 or state.step == params.num_steps
        row = self._note(
            train_loss=loss,
            learning_rate=params.optimizer.learning_rate * factor,
            validation_loss=self._validation_loss() if measure else None,
        )
        return row, sums | {"gradient_norm": norm} | self.speed.figures(seconds)

    def _estimate_hessian(self, sophia: Sophia, batches: Sequence[Batch]) -> None:
        """Shows the optimizer the gradients of the step's loss on labels that the model itself draws."""
        uniforms = self.batches.uniforms(self.state.step)
        device = self.accelerator.device
        self._gradients(batches, [own_label_objective(numbers.to(device)) for numbers in uniforms])
        sophia.update_hessian(num_labels=self.batches.tokens_per_step)
        sophia.zero_grad()

    def _gradients(self, batches: Sequence[Batch], objectives: Sequence[Objective]) -> tuple[float, dict[str, float]]:
        """As `_accumulate_gradients`, computed again under a lower loss scale for as long as that one overflows."""
        scale, parameters = self.state.loss_scale, list(self.state.model.parameters())
        while True:
            loss, sums = self._accumulate_gradients(batches, objectives)
            if scale.factor == 1.0:
                return loss, sums
            scale.unscale(parameters)
            norm = float(self.accelerator.clip_grad_norm_(parameters, math.inf))  # of all processes; clips nothing
            if math.isfinite(norm) or not math.isfinite(loss) or not scale.lower():
                return loss, sums
            self._clear_gradients()

    def _clear_gradients(self) -> None:
        for optimizer in self.state.optimizers:
            optimizer.zero_grad()

    def _accumulate_gradients(
        self, batches: Sequence[Batch], objectives: Sequence[Objective]
    ) -> tuple[float, dict[str, float]]:
        """Scaled gradients of the step's loss per supervised token; returns it, and the objective's sums so.

        Args:
            batches: Micro-batches of this process.
            objectives: What is minimized on each.
        """
        accelerator, network, factor = self.accelerator, self.state.computation.network, self.state.loss_scale.factor
        num_tokens = int(self._over_processes(torch.tensor(sum(batch.num_supervised for batch in batches))))
        totals: dict[str, Tensor] = {}
        for number, (batch, objective) in enumerate(zip(batches, objectives, strict=True)):
            last = number == len(batches) - 1
            accelerator.sync_gradients = last
            with nullcontext() if last else accelerator.no_sync(network):
                loss_sum, _, sums = objective(network, batch.to(accelerator.device))
                # Data-parallel training averages gradients over processes; the loss is a sum over them.
                accelerator.backward(loss_sum * (accelerator.num_processes * factor) / num_tokens)
            for name, value in ({"loss": loss_sum} | sums).items():
                totals[name] = totals.get(name, 0) + value.detach()
        means = {name: float(self._over_processes(total) / num_tokens) for name, total in totals.items()}
        return means.pop("loss"), means

    def _over_processes(self, value: Tensor) -> Tensor:
        total: Tensor = self.accelerator.reduce(value.to(self.accelerator.device), reduction="sum")
        return total

    def _note(self, **values: float | None) -> HistoryRow:
        """Adds a row to the history; a measured validation loss may be the best so far, or one rise too many."""
        state = self.state
        row: HistoryRow = {"step": state.step, **values}
        state.history.append(row)
        measured = measurements([row])
        state.measured += measured
        if not measured:
            return row
        if rises(state.measured)[-1:] == [state.step]:
            announce_warning(
                f"pretrain: the validation loss has risen {RISES_TO_WARN} times in a row up to step {state.step}: the "
                "model may be learning its text by heart; add text, lower num_steps, or keep final_weights: best"
            )
        if self.params.final_weights == "best" and best_step(state.measured) == state.step:
            state.save_best()
        return row

    def _validation_loss(self) -> float:
        return validation_loss(self.state.computation.network, self.validation, self.params, self.accelerator)

    def finish(self) -> PretrainResult:
        """The result, with the chosen weights in the model."""
        best = self.params.final_weights == "best"
        chosen = self.state.take_best() if best else self.state.step
        return PretrainResult(self.state.history, chosen, self.state.whole())


def _speed(model: nn.Module, batches: StepBatches, accelerator: Accelerator, float16: bool) -> Speed:
    dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" or float16 else torch.float32
    peak = peak_of(accelerator.device, dtype)
    announce_fact(f"utilization is told of {peak.flops_per_second / 1e12:.3g} TFLOP/s a device ({peak.origin})")
    flops = flops_per_token(model, batches.sequence_length) * batches.tokens_per_step
    return Speed(flops, batches.tokens_per_step, peak, accelerator.num_processes, accelerator.device)
