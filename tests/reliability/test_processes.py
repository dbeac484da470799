"""Pretraining in two processes on the CPU (gloo), started by accelerate's launcher as the stage starts it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from forgeline.core.storage import read_json
from forgeline.model.loading import save_model_files
from forgeline.training.params.pretrain import PretrainParams
from forgeline.training.pretraining.launch import launch_command
from tests.unit.training.toys import OPTIMIZERS

pytestmark = pytest.mark.slow

SCRIPT = "tests.reliability.pretrain_in_processes"
# Two processes add the same numbers in another order. Muon rounds to bfloat16 on the way, the others divide by small
# numbers.
TOLERANCE = {"adamw": 1e-4, "sophia": 1e-3, "muon": 1e-2}


class Runs:
    """Runs of the same work in folders of their own."""

    def __init__(self, root: Path, packed: Path, start: Path, params: Callable[..., PretrainParams]) -> None:
        self._root = root
        self._packed = packed
        self._start = start
        self._params = params

    def run(self, name: str, *, environment: dict[str, str] | None = None, **changed: Any) -> str:
        """Trains; returns what was printed. Fails with the exit status of a run that failed, unless it was stopped."""
        folder = self._root / name
        folder.mkdir(exist_ok=True)
        for link, target in {"packed": self._packed, "start": self._start}.items():
            if not (folder / link).exists():
                (folder / link).symlink_to(target)
        params = self._params(micro_batch_size=4, gradient_accumulation_steps=2, num_steps=6, **changed)
        arguments = [str(folder), params.model_dump_json()]
        command = [sys.executable, "-m", SCRIPT, *arguments]
        if params.num_processes > 1:
            command = launch_command(SCRIPT, params, arguments)
        done = subprocess.run(
            command, env={**os.environ, **(environment or {})}, capture_output=True, text=True, timeout=300
        )
        assert environment or done.returncode == 0, done.stderr
        return done.stderr

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self._root / name / "trained" / "model.safetensors")

    def content(self, name: str) -> bytes:
        return (self._root / name / "trained" / "model.safetensors").read_bytes()

    def history(self, name: str) -> list[dict[str, float]]:
        return read_json(self._root / name / "history.json")

    def column(self, name: str, column: str) -> list[float]:
        return [row[column] for row in self.history(name) if row[column] is not None]

    def scratch(self, name: str) -> list[str]:
        return sorted(path.name for path in (self._root / name / "scratch").iterdir())


@pytest.fixture
def runs(tmp_path: Path, packed_folder: Path, tiny_model, tokenizer, pretrain_params) -> Runs:
    save_model_files(tiny_model(7), tokenizer, tmp_path / "start")
    return Runs(tmp_path, packed_folder, tmp_path / "start", pretrain_params)


@pytest.mark.parametrize(
    ("parallel", "optimizer"),
    [("ddp", "adamw"), ("ddp", "muon"), ("ddp", "sophia"), ("fsdp", "adamw"), ("fsdp", "sophia")],
)
def test_two_processes_train_what_one_does(runs: Runs, parallel: str, optimizer: str) -> None:
    knobs = {"optimizer": OPTIMIZERS[optimizer], "parallel": parallel}
    runs.run("one", num_processes=1, **knobs)
    runs.run("two", num_processes=2, **knobs)
    one, two = runs.weights("one"), runs.weights("two")
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.allclose(two[name], value, rtol=0, atol=TOLERANCE[optimizer]), name
    for column in ("train_loss", "validation_loss"):
        assert runs.column("two", column) == pytest.approx(runs.column("one", column), rel=1e-4)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_killed_processes_end_as_if_nothing_had_happened(runs: Runs, parallel: str) -> None:
    knobs = {"num_processes": 2, "parallel": parallel, "optimizer": OPTIMIZERS["adamw"], "final_weights": "best"}
    runs.run("undisturbed", **knobs)
    runs.run("killed", environment={"KILL_AT_STEP": "5"}, **knobs)
    assert runs.scratch("killed") == ["best.pt", "step-00000003.pt"]
    assert "goes on from the checkpoint at step 3" in runs.run("killed", **knobs)
    assert runs.content("killed") == runs.content("undisturbed")
    assert runs.history("killed") == runs.history("undisturbed")


def test_a_signal_to_one_process_stops_both_with_a_checkpoint(runs: Runs) -> None:
    knobs = {"num_processes": 2, "optimizer": OPTIMIZERS["adamw"]}
    printed = runs.run("stopped", environment={"TERMINATE_ONE_AT_STEP": "4"}, **knobs)
    assert "stopped: checkpoint at step 4 saved" in printed
    assert runs.scratch("stopped") == ["step-00000003.pt", "step-00000004.pt"]
