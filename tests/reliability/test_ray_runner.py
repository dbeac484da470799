"""The Ray runner against the local one: on a cluster of two nodes, and on a Ray that it starts itself."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from benchmarks.corpus import Corpus, generate
from benchmarks.workspace import STAGES, Workspace

from forgeline.core.storage import sha256_path
from forgeline.runner.ray_keeper import descendants
from tests.clone import ROOT
from tests.reliability.copies import message, wait_until
from tests.reliability.ray_cluster import Cluster, cluster_of_two_nodes
from tests.reliability.ray_tasks import NUM_ERRANDS, UNLUCKY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra `ray`"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="how Ray's processes are ended needs /proc"),
]

RESULTS = ("data/ingest", "data/clean", "data/curate", "metrics")
RUN_STAGES = """
import runpy, shlex, sys
for command in sys.argv[1:]:
    _, module, *arguments = shlex.split(command)  # -m, module
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with cluster_of_two_nodes() as cluster:
        yield cluster


def errands(functions: str, folder: Path) -> list[str]:
    """The command that runs such tasks."""
    return [sys.executable, "-m", "tests.reliability.ray_tasks", "--functions", functions, "--folder", str(folder)]


def environment(**extra: str) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("FORGELINE_", "RAY_"))}
    return {**inherited, "PYTHONPATH": str(ROOT / "src"), "FORGELINE_RUNNER": "ray", **extra}


def run(functions: str, folder: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    command = errands(functions, folder)
    return subprocess.run(command, cwd=ROOT, env=environment(**extra), capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def errand_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("errands")


@pytest.fixture(scope="module")
def done(cluster: Cluster, errand_folder: Path) -> subprocess.CompletedProcess[str]:
    """Three functions in one process; the last one refuses."""
    return run("tell,write_but_die_once,refuse", errand_folder, **cluster.environment)


def results(done: subprocess.CompletedProcess[str]) -> list[Any]:
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


def test_tasks_run_on_both_nodes_with_the_code_of_this_checkout(done: subprocess.CompletedProcess[str]) -> None:
    nodes, folders, code = zip(*results(done)[0], strict=True)
    assert len(set(nodes)) == 2
    assert set(folders) == {str(ROOT)}
    assert set(code) == {str(ROOT / "src" / "forgeline")}


def test_a_task_whose_worker_is_killed_in_the_middle_is_run_again(
    done: subprocess.CompletedProcess[str], errand_folder: Path
) -> None:
    assert results(done)[1] == list(range(NUM_ERRANDS))
    texts = {path.name: path.read_text() for path in errand_folder.iterdir()}
    assert texts == {f"{number}.txt": f"errand {number}" for number in range(NUM_ERRANDS)}


def test_the_first_error_a_user_can_mend_is_one_line(done: subprocess.CompletedProcess[str]) -> None:
    assert message(done) == f"notes-{UNLUCKY}.txt:7: not a note: write one"


def test_a_task_that_always_kills_its_worker_is_given_up(cluster: Cluster, tmp_path: Path) -> None:
    said = message(run("write_and_die", tmp_path, **cluster.environment))
    assert said.startswith("Ray gave a task up (")
    assert said.endswith("see whether its node ran out of memory or disk")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The stages of the corpus, run by the local runner on one thread over many shards."""
    folder = tmp_path_factory.mktemp("workspace")
    generate(folder / "corpus", megabytes=2, seed=0)
    changes = {"ingest.shard_megabytes": 0.2, "curate.memory_megabytes": 1}
    workspace = Workspace(folder / "root", Corpus(folder / "corpus"), changes)
    assert run_stages(workspace, STAGES, FORGELINE_RUNNER="local", FORGELINE_WORKERS="1").wait(300) == 0
    assert len(list((workspace.root / "data/clean/corpus/documents.parquet").iterdir())) >= 8
    return workspace


def run_stages(workspace: Workspace, addresses: Sequence[str], **extra: str) -> "subprocess.Popen[bytes]":
    """Starts the commands of the stages in one process, so that they need to wait for Ray only once."""
    commands = [shlex.join(workspace.command(address)) for address in addresses]
    return subprocess.Popen([sys.executable, "-c", RUN_STAGES, *commands], cwd=workspace.root, env=environment(**extra))


def results_in(workspace: Workspace) -> dict[str, str]:
    """The hash of every file that the stages wrote."""
    paths = [path for name in RESULTS for path in (workspace.root / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(workspace.root)): sha256_path(path) for path in paths}


def test_the_stages_write_the_same_bytes_as_with_the_local_runner(cluster: Cluster, workspace: Workspace) -> None:
    local = results_in(workspace)
    assert len(local) > 40
    for name in RESULTS:
        shutil.rmtree(workspace.root / name)
    assert run_stages(workspace, STAGES, **cluster.environment).wait(300) == 0
    assert results_in(workspace) == local


def test_a_stage_one_of_whose_workers_is_killed_writes_the_same_bytes(cluster: Cluster, workspace: Workspace) -> None:
    local = results_in(workspace)
    shutil.rmtree(workspace.root / "data/clean")
    stage = run_stages(workspace, ["clean@corpus"], **cluster.environment)
    assert wait_until(lambda: len(cluster.working()) > 0, 120)
    os.kill(next(iter(cluster.working())), signal.SIGKILL)
    assert stage.wait(300) == 0
    assert results_in(workspace) == local


def test_an_address_where_no_cluster_answers_is_refused_at_once(tmp_path: Path) -> None:
    done = run("refuse", tmp_path, RAY_ADDRESS="127.0.0.1:9")
    assert message(done).startswith("RAY_ADDRESS is '127.0.0.1:9' and Ray cannot be used there ([Errno 111]")


def workers_in(folder: Path) -> set[int]:
    """The processes that have told that they dawdle."""
    return {int(text) for path in folder.glob("*.txt") if (text := path.read_text())}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_ray_of_its_own_ends_with_the_stage(tmp_path: Path, number: signal.Signals) -> None:
    stage = subprocess.Popen(
        errands("dawdle", tmp_path),
        cwd=ROOT,
        env=environment(FORGELINE_WORKERS="2"),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert wait_until(lambda: len(workers_in(tmp_path)) == 2, 120)
        below = descendants(stage.pid)
        assert workers_in(tmp_path) < below
        os.kill(stage.pid, number)
        said = stage.communicate(timeout=60)[1]
    finally:
        stage.kill()
    assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below), 10)
    if number == signal.SIGTERM:
        assert (stage.returncode, said.splitlines()[-1]) == (130, "forgeline: stopped by SIGTERM")
