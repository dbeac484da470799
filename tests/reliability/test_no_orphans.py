import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clone import Clone
from tests.reliability.copies import checkpoint_step, copy_of, processes_in, started, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's parent-death signal, and /proc"),
]

FORCED = ("repro", "--force", "--single-item", "--no-run-cache")
WRITTEN_SHELLS = {
    # Waits for the command, as fish does, where others exec it.
    "staying": '#!/bin/bash\n/bin/bash "$@"\nexit $?\n',
    # Waits, and then dies of the Ctrl-C that it received meanwhile.
    "dying": '#!/bin/bash\ntrap interrupted=1 INT\n/bin/bash "$@"\nstatus=$?\ntrap - INT\n'
    '[ -z "$interrupted" ] || kill -INT $$\nexit $status\n',
}


@pytest.fixture
def long_training(smoke: Clone, tmp_path: Path) -> Clone:
    """A copy whose pretraining takes seconds."""
    clone = copy_of(smoke, tmp_path / "copy")
    clone.set_params(pretrain__num_steps=60, pretrain__checkpoint_every_steps=10)
    return clone


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[str], str]:
    """The path of a shell, as $SHELL tells DVC."""

    def find(name: str) -> str:
        if name not in WRITTEN_SHELLS:
            return f"/bin/{name}"
        path = tmp_path / name
        path.write_text(WRITTEN_SHELLS[name])
        path.chmod(0o755)
        return str(path)

    return find


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGTERM, "bash"), (signal.SIGKILL, "sh"), (signal.SIGKILL, "staying")]
)
def test_training_does_not_outlive_dvc(
    long_training: Clone, shell: Callable[[str], str], number: signal.Signals, name: str
) -> None:
    clone = long_training
    with started(clone, "dvc", *FORCED, "pretrain", SHELL=shell(name)) as dvc:
        assert wait_until(lambda: checkpoint_step(clone, "pretrain") > 0, 120)
        assert any("stages.pretrain" in command for command in processes_in(clone.root).values())
        os.kill(dvc.pid, number)  # DVC alone
        assert wait_until(lambda: dvc.poll() is not None and not processes_in(clone.root), 5), processes_in(clone.root)
    step = checkpoint_step(clone, "pretrain")
    assert 10 <= step < 60
    if name == "sh":  # once is enough: DVC has no handler of its own, so the other signal leaves the same behind
        rerun = clone.forgeline("repro", "--single-item", "pretrain", FORGELINE_TRACKING="off")
        assert f"goes on from the checkpoint at step {step}" in rerun.stderr
        assert clone.metrics("pretrain")["final"]["validation_loss"] > 0


@pytest.mark.parametrize("name", ["bash", "sh", "dying"])
def test_ctrl_c_ends_the_pipeline_with_a_line_and_a_checkpoint(
    long_training: Clone, shell: Callable[[str], str], name: str
) -> None:
    clone = long_training
    command = (sys.executable, "-m", "forgeline.cli", *FORCED, "pretrain", "preferences")
    with started(clone, *command, SHELL=shell(name)) as pipeline:
        assert wait_until(lambda: checkpoint_step(clone, "pretrain") > 0, 120)
        os.killpg(pipeline.pid, signal.SIGINT)  # as the terminal does: to all processes in the foreground
        printed, _ = pipeline.communicate(timeout=30)
    step = checkpoint_step(clone, "pretrain")
    assert pipeline.returncode != 0
    assert f"forgeline: stopped: checkpoint at step {step} saved" in printed
    assert "Traceback" not in printed
    assert "Running stage 'preferences'" not in printed
    assert 10 <= step < 60


def test_ctrl_c_while_a_stage_is_still_importing_is_one_line(smoke: Clone, tmp_path: Path) -> None:
    clone = copy_of(smoke, tmp_path / "copy")
    imports_something_slow = "import stages, time; print('ready', flush=True); time.sleep(60)"
    with started(clone, sys.executable, "-c", imports_something_slow) as stage:
        assert stage.stdout is not None
        assert stage.stdout.readline() == "ready\n"
        os.kill(stage.pid, signal.SIGINT)
        printed, _ = stage.communicate(timeout=10)
    assert (stage.returncode, printed) == (130, "forgeline: stopped by SIGINT before anything was done\n")


@pytest.mark.parametrize("content", ["", '{"write": {"/somewhere": {"pi'])
def test_a_lock_file_that_a_kill_left_half_written_is_cleared(smoke: Clone, tmp_path: Path, content: str) -> None:
    clone = copy_of(smoke, tmp_path / "copy")
    note = clone.root / ".dvc" / "tmp" / "rwlock"
    note.write_text(content)
    assert "RWLock-file" in clone.dvc("repro", "--single-item", "pack", "--force", check=False).stderr
    done = clone.forgeline("repro", "--single-item", "pack")
    assert "forgeline: removed .dvc/tmp/rwlock, which a killed DVC left half written" in done.stderr
