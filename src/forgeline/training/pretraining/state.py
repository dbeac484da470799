"""Everything that the rest of a pretraining run depends on, and its saved form."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn
from torch.optim import Optimizer

from forgeline.core.errors import ForgelineError
from forgeline.core.progress import announce_resume
from forgeline.training.loop.checkpoints import Checkpoints
from forgeline.training.loop.loss_scale import LossScale
from forgeline.training.loop.schedules import Measurement
from forgeline.training.params.pretrain import PretrainParams
from forgeline.training.pretraining.network import Computation
from forgeline.training.pretraining.processes import (
    by_deepspeed,
    load_model_state,
    load_optimizer_state,
    model_state,
    optimizer_state,
    random_state,
    set_random_state,
    whole_copy,
)
from forgeline.training.pretraining.summary import HistoryRow, measurements

SaveModel = Callable[[nn.Module, Path], None]
_KNOBS = "lower the learning rate or max_grad_norm, or raise schedule.warmup_steps"


class RunState:
    """Weights, optimizers and history of a run after `step` steps, on all its processes.

    Attributes:
        computation: What computes losses and gradients of the weights.
        model: The weights, as accelerate has prepared them.
        optimizers: Likewise.
        loss_scale: What losses are multiplied by before the backward pass.
        step: Optimizer steps taken.
        history: A row before the first step and one after each.
        measured: The validation losses in it.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: list[Optimizer],
        params: PretrainParams,
        accelerator: Accelerator,
        checkpoints: Checkpoints,
        float16: bool,
    ) -> None:
        """Prepares the parts; `restore` may then set them to a checkpoint.

        Args:
            model: Plain weights or with an adapter, on the CPU.
            optimizers: Of its trainable weights.
            params: Section `pretrain`.
            accelerator: Spreads them over processes and devices.
            checkpoints: Where states are kept.
            float16: Whether matrices are multiplied in float16.
        """
        self._accelerator = accelerator
        self._checkpoints = checkpoints
        self._frozen = {name for name, weights in model.named_parameters() if not weights.requires_grad}
        self.computation = Computation(model, optimizers, params, accelerator, float16)
        self.model, self.optimizers = self.computation.model, self.computation.optimizers
        self.loss_scale = LossScale(enabled=float16)
        self.step = 0
        self.history: list[HistoryRow] = []
        self.measured: list[Measurement] = []

    def restore(self) -> bool:
        """Goes back to the newest checkpoint; False if there is none."""
        saved = self._checkpoints.load_latest()
        if saved is None:
            return False
        self._load_weights(saved)
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            load_optimizer_state(self._accelerator, self.model, optimizer, state)
        self.loss_scale.restore(saved["loss_scale"])
        set_random_state(saved["generators"])
        self.step = saved["step"]
        self.history = saved["history"]
        self.measured = measurements(self.history)
        announce_resume(self.step)
        return True

    def save(self) -> None:
        """Writes a checkpoint; under DeepSpeed none, so that a run which is killed there starts again."""
        if by_deepspeed(self._accelerator):
            return
        state = {
            **self._weights(),
            "optimizers": [optimizer_state(self._accelerator, self.model, value) for value in self.optimizers],
            "loss_scale": self.loss_scale.state(),
            "generators": random_state(),
            "history": self.history,
        }
        self._write(self._checkpoints.save, state)

    def save_best(self) -> None:
        """Keeps the weights as they are now as the best so far."""
        self._write(self._checkpoints.save_best, self._weights())

    def take_best(self) -> int:
        """Sets the weights to the best ones; returns after how many steps they were so."""
        saved = self._checkpoints.load_best()
        if saved is None:
            raise ForgelineError("the best weights are gone from the scratch folder: run the stage again")
        self._load_weights(saved)
        return int(saved["step"])

    def whole(self) -> nn.Module:
        """The model with all its weights in one process."""
        return whole_copy(self._accelerator, self.computation.network, self.model)

    def way_on(self, save_model: SaveModel | None) -> str:
        """What a user can do about a run that has diverged; the last good weights are saved as a model if possible.

        Args:
            save_model: Writes a model into a folder.
        """
        saved = self._checkpoints.load_latest()
        if saved is None or save_model is None:
            return f"{_KNOBS}, and run again"
        self._load_weights(saved)
        folder, whole = self._checkpoints.folder / "last-good", self.whole()
        if self._accelerator.is_main_process:
            save_model(whole, folder)
        return (
            f"{_KNOBS}, and run again from the start, or set pretrain.init_from to {folder}, which holds the good "
            f"weights of step {saved['step']}"
        )

    def _weights(self) -> dict[str, Any]:
        """What training changes; frozen weights come from where the model came from."""
        state = model_state(self._accelerator, self.computation.network, self.model)
        return {"model": {name: value for name, value in state.items() if name not in self._frozen}}

    def _load_weights(self, saved: dict[str, Any]) -> None:
        load_model_state(self._accelerator, self.model, saved["model"])

    def _write(self, save: Callable[[int, dict[str, Any]], None], state: dict[str, Any]) -> None:
        if self._accelerator.is_main_process:
            save(self.step, state)
        self._accelerator.wait_for_everyone()
