import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.clone import Clone
from tests.reliability.copies import (
    command_of,
    contents,
    copy_of,
    leftovers,
    message,
    remove_outputs,
    run_stage,
    stage_of,
    started,
)

pytestmark = pytest.mark.slow

# A file system of its own for this command only; `folder` is relative to the repository.
TINY_DISK = 'mount -t tmpfs -o size=32k none {folder} && exec "$@"'
READ_ONLY = 'mount --bind {folder} {folder} && mount -o remount,ro,bind {folder} && exec "$@"'


def limited(size: int) -> str:
    """Has every write past `size` bytes of a file fail: the place depends on the size alone."""
    limit = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"
    return f"exec '{sys.executable}' -c '{limit}; os.execvp(sys.argv[1], sys.argv[1:])' \"$@\""


def largest_output(clone: Clone, address: str) -> int:
    places = [clone.root / out for out in stage_of(clone, address).outs]
    files = [file for place in places for file in (place.rglob("*") if place.is_dir() else [place]) if file.is_file()]
    return max(file.stat().st_size for file in files)


@pytest.mark.parametrize(
    ("address", "num_sizes"),
    [("ingest@hpo_terms", 3), ("curate", 2), ("instructions", 2), ("tokenizer", 2), ("pack", 2), ("merge@dpo", 2)],
)
def test_a_write_that_fails_at_a_random_place_loses_nothing(
    smoke: Clone, tmp_path: Path, address: str, num_sizes: int
) -> None:
    clone = copy_of(smoke, tmp_path / "copy")
    before = contents(clone, address)
    draw = random.Random(address)
    for _ in range(num_sizes):
        size = draw.randrange(1, largest_output(smoke, address) - 1)
        said = message(run_stage(clone, address, within=limited(size)))
        assert re.search(r"grew larger than the system allows|disk", said), said
        assert contents(clone, address) == before, f"changed at {size} bytes"
    remove_outputs(clone, address)
    message(run_stage(clone, address, within=limited(size)))
    assert set(contents(clone, address).values()) == {None}
    done = run_stage(clone, address)
    assert done.returncode == 0, done.stderr
    assert contents(clone, address) == before
    assert leftovers(clone) == []


@pytest.mark.parametrize("address", ["pretrain", "sft"])
def test_a_checkpoint_that_cannot_be_written_loses_nothing(smoke: Clone, tmp_path: Path, address: str) -> None:
    clone = copy_of(smoke, tmp_path / "copy")
    before = contents(clone, address)
    said = message(run_stage(clone, address, within=limited(200_000)))
    assert re.search(r"grew larger than the system allows|disk", said), said
    assert contents(clone, address) == before
    done = run_stage(clone, address)
    assert done.returncode == 0, done.stderr
    assert contents(clone, address) == before
    assert leftovers(clone) == []


def test_a_kill_at_a_random_moment_leaves_whole_outputs(smoke: Clone, tmp_path: Path) -> None:
    clone = copy_of(smoke, tmp_path / "copy")
    before = contents(clone, "curate")
    start = time.monotonic()
    assert run_stage(clone, "curate").returncode == 0
    duration = time.monotonic() - start
    draw = random.Random(17)
    for _ in range(3):
        with started(clone, *command_of(clone, "curate")) as stage:
            time.sleep(draw.uniform(0.5, 1.0) * duration)
            stage.send_signal(signal.SIGKILL)
            stage.wait()
        assert contents(clone, "curate") == before
    assert run_stage(clone, "curate").returncode == 0
    assert contents(clone, "curate") == before
    assert leftovers(clone) == []


@pytest.fixture(scope="module")
def own_mounts() -> None:
    """Skips where this user may not mount a file system that only one command sees."""
    if shutil.which("unshare"):
        tried = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
        if subprocess.run(tried, capture_output=True).returncode == 0:
            return
    pytest.skip("needs user and mount namespaces (Linux)")


def mounted(script: str, folder: str) -> str:
    return f"exec unshare --map-root-user --mount sh -c '{script.format(folder=folder)}' sh \"$@\""


@pytest.mark.usefixtures("own_mounts")
@pytest.mark.parametrize(
    ("address", "folder", "script", "expected"),
    [
        ("curate", "data/curate", TINY_DISK, "the disk is full"),
        ("curate", "data/curate", READ_ONLY, "the file system is read-only: choose another folder or remount it"),
        ("merge@dpo", "models", READ_ONLY, "the file system is read-only: choose another folder or remount it"),
    ],
)
def test_a_full_disk_and_a_read_only_folder_are_one_line(
    smoke: Clone, tmp_path: Path, address: str, folder: str, script: str, expected: str
) -> None:
    clone = copy_of(smoke, tmp_path / "copy")
    before = contents(clone, address)
    assert expected in message(run_stage(clone, address, within=mounted(script, folder)))
    assert contents(clone, address) == before
    assert leftovers(clone) == []


def test_a_file_where_a_folder_should_be_is_named(smoke: Clone, tmp_path: Path) -> None:
    clone = copy_of(smoke, tmp_path / "copy")
    shutil.rmtree(clone.root / "data" / "curate")
    (clone.root / "data" / "curate").write_text("in the way")
    said = message(run_stage(clone, "curate"))
    assert said.startswith("cannot use data/curate")
    assert (clone.root / "data" / "curate").read_text() == "in the way"
