"""An evaluation killed without warning goes on from its finished samples and ends with the same bytes."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability import evaluation_to_kill

pytestmark = pytest.mark.slow


def start(folder: Path, *moment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", evaluation_to_kill.__name__, str(folder), *moment]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def finished(folder: Path) -> list[str]:
    file = folder / "scratch" / "finished.jsonl"
    return file.read_text().splitlines() if file.exists() else []


def test_killed_between_batches_and_within_one(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    num_batches = evaluation_to_kill.run(whole)
    killed = tmp_path / "killed"
    # Within the second batch that is written, and then before a batch of likelihoods is noted.
    assert start(killed, "11").returncode == -signal.SIGKILL
    first = finished(killed)
    tasks = [json.loads(line)["task"] for line in first]
    assert tasks.count("organ_system") == 1
    assert start(killed, "b4").returncode == -signal.SIGKILL
    second = finished(killed)
    assert second[: len(first)] == first
    assert len(second) == len(first) + 3
    last = start(killed)
    assert last.returncode == 0, last.stderr
    assert f"goes on after {len(second)} finished batches" in last.stderr
    assert int(last.stdout) == num_batches - len(second)
    for name in ("samples.jsonl", "metrics.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
