import os
import signal
from pathlib import Path

import pytest

from tests.clone import Clone
from tests.reliability.copies import (
    checkpoint_step,
    command_of,
    contents,
    copy_of,
    leftovers,
    run_stage,
    started,
    stop_at_checkpoint,
    wait_until,
)

pytestmark = pytest.mark.slow

FORCED = ("repro", "--force", "--single-item", "--no-run-cache")
ATTEMPTS = 3  # a training of a few steps may be over before the signal arrives


def stopped_midway(clone: Clone, address: str, command: list[str], number: signal.Signals) -> tuple[int, str, int]:
    """Stops a training run between its first checkpoint and its end; returns status, what was said, last checkpoint."""
    for _ in range(ATTEMPTS):
        status, printed = stop_at_checkpoint(clone, address, command, lambda group: os.killpg(group, number))
        if step := checkpoint_step(clone, address):  # the end of a stage removes its checkpoints
            return status, printed, step
    raise AssertionError(f"{address} was over before it could be stopped:\n{printed}")


def locked(clone: Clone, address: str) -> dict[str, str]:
    return {out["path"]: out["md5"] for out in clone.lock()[address]["outs"]}


@pytest.mark.parametrize("address", ["pretrain", "sft", "align@dpo", "reinforce@grpo"])
def test_a_stage_killed_midway_ends_with_the_same_hashes(smoke: Clone, tmp_path: Path, address: str) -> None:
    clone = copy_of(smoke, tmp_path / "copy")
    status, _, step = stopped_midway(clone, address, ["dvc", *FORCED, address], signal.SIGKILL)
    assert status == -signal.SIGKILL
    rerun = clone.dvc(*FORCED, address, FORGELINE_TRACKING="off")
    assert f"goes on from the checkpoint at step {step}" in rerun.stdout + rerun.stderr
    assert locked(clone, address) == locked(smoke, address)
    assert checkpoint_step(clone, address) == 0
    assert leftovers(clone) == []


def test_an_evaluation_killed_midway_ends_with_the_same_hashes(smoke: Clone, tmp_path: Path) -> None:
    clone = copy_of(smoke, tmp_path / "copy")
    scratch = clone.root / ".dvc" / "tmp" / "scratch"
    for _ in range(ATTEMPTS):  # it may be over before the signal arrives
        with started(clone, "dvc", *FORCED, "evaluate@sft") as process:
            assert wait_until(lambda: process.poll() is not None or finished_batches(scratch) > 0, 120)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        if before := finished_batches(scratch):
            break
    assert before
    rerun = clone.dvc(*FORCED, "evaluate@sft", FORGELINE_TRACKING="off")
    assert f"goes on after {before} finished batches" in rerun.stdout + rerun.stderr
    assert locked(clone, "evaluate@sft") == locked(smoke, "evaluate@sft")
    assert finished_batches(scratch) == 0
    assert leftovers(clone) == []
    latencies = (clone.root / "logs" / "evaluate" / "sft" / "samples.jsonl").read_text().splitlines()
    assert len(latencies) == clone.metrics("evaluate/sft")["records"]["out"]


def finished_batches(scratch: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in scratch.glob("evaluate-sft-*/finished.jsonl"))


def test_a_stopped_stage_names_its_checkpoint_and_goes_on_from_it(smoke: Clone, tmp_path: Path) -> None:
    clone = copy_of(smoke, tmp_path / "copy")
    before = contents(clone, "pretrain")
    status, printed, step = stopped_midway(clone, "pretrain", command_of(clone, "pretrain"), signal.SIGTERM)
    assert status == 130
    assert printed.splitlines()[-1].startswith(f"forgeline: stopped: checkpoint at step {step} saved")
    assert "Traceback" not in printed
    assert contents(clone, "pretrain") == before
    rerun = run_stage(clone, "pretrain")
    assert rerun.returncode == 0, rerun.stderr
    assert f"goes on from the checkpoint at step {step}" in rerun.stderr
    assert contents(clone, "pretrain") == before
