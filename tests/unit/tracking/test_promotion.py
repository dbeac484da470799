import hashlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from forgeline.core.errors import DataError
from forgeline.core.params import write_yaml
from forgeline.core.storage import write_json, write_jsonl
from forgeline.reporting.comparison import Comparison
from forgeline.tracking.evidence import samples_path
from forgeline.tracking.params import RegisterParams
from forgeline.tracking.promotion import decide, promote, show
from forgeline.tracking.registry import register_models
from forgeline.tracking.store import MIRROR_EXPERIMENT, open_store
from forgeline.tracking.sync import sync_workspace

PARAMS = RegisterParams(name="tiny", alias="candidate", models=["grpo"])


def comparison(task: str, difference: float, significant: bool = True) -> Comparison:
    return Comparison("candidate", "champion", task, 100, 0, 0, None, difference, 0.01, significant)


@pytest.mark.parametrize(
    ("comparisons", "tasks", "promoted", "reason"),
    [
        ([comparison("a", 0.1), comparison("b", 0.0, False)], [], True, "better on a and worse on none"),
        ([comparison("a", 0.1), comparison("b", 0.0, False)], ["a"], True, "better on a and worse on none"),
        ([comparison("a", 0.1), comparison("b", 0.0, False)], ["a", "b"], False, "not significantly better on b"),
        ([comparison("a", 0.1), comparison("b", -0.1)], ["a"], False, "worse on b"),
        ([comparison("a", 0.1, False)], [], False, "better on no task"),
    ],
)
def test_better_on_what_is_named_and_worse_on_nothing(
    comparisons: list[Comparison], tasks: list[str], promoted: bool, reason: str
) -> None:
    decision = decide(comparisons, tasks)
    assert decision[0] == promoted
    assert reason in decision[1]


def test_a_task_that_was_not_scored_is_named_with_those_that_were() -> None:
    with pytest.raises(DataError, match="squad: not scored on both; there are a"):
        decide([comparison("a", 0.1)], ["squad"])


def register(weights: str, verdicts: str, root: Path, prompt: str = "p") -> None:
    """Registers models/grpo with these weights, whose answers to 40 questions were right (1) or wrong (0)."""
    write_json(Path("models/grpo/lineage.json"), {"stage": "merge@grpo", "inputs": {}})
    Path("models/grpo/model.safetensors").write_text(weights)
    samples = Path(samples_path("grpo"))
    write_jsonl(
        samples,
        [
            {"task": "organ", "sample_id": f"s{i}", "prompt_sha256": f"{prompt}{i}", "correct": verdict == "1",
             "details": {}} for i, verdict in enumerate(verdicts)
        ],
    )  # fmt: skip
    digest = hashlib.md5(samples.read_bytes()).hexdigest()
    cached = root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(samples.read_bytes())
    locked: Mapping[str, Any] = {"evaluate@grpo": {"outs": [{"path": samples_path("grpo"), "md5": digest}]}}
    register_models(Path("models"), PARAMS, {}, locked)


def aliases() -> dict[str, str]:
    client, _ = open_store(MIRROR_EXPERIMENT)
    return {alias: str(number) for alias, number in client.get_registered_model("tiny-grpo").aliases.items()}


def promotes_only_what_is_better(root: Path) -> None:
    """What has to hold on any store."""
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run([Path(sys.executable).parent / "dvc", "init", "-q"], cwd=root, check=True)
    register("v1", "1" * 20 + "0" * 20, root)
    first = promote("grpo", PARAMS, [], None)
    assert (first.promoted, first.champion, first.reason) == (True, None, "the first champion")
    assert promote("tiny-grpo", PARAMS, [], None).reason == "version 1 is the champion already"

    register("v2", "1" * 22 + "0" * 18, root)  # two more of 40: p = 0.5
    close = promote("grpo", PARAMS, [], None)
    assert (close.promoted, close.champion, close.candidate) == (False, 1, 2)
    assert (close.comparisons[0].wins, close.comparisons[0].losses, close.comparisons[0].p_value) == (2, 0, 0.5)
    assert "organ: +0.0500 on 40 samples (2 better, 0 worse), p = 0.5" in show(close)
    assert aliases() == {"candidate": "2", "champion": "1"}

    register("v3", "1" * 30 + "0" * 10, root)  # ten more: p = 2 / 2^10
    better = promote("grpo", PARAMS, ["organ"], None)
    assert (better.promoted, better.champion) == (True, 1)
    assert aliases() == {"candidate": "3", "champion": "3"}
    client, _ = open_store(MIRROR_EXPERIMENT)
    tag = json.loads(client.get_model_version("tiny-grpo", "3").tags["forgeline.promotion"])
    assert tag["over"] == 1
    assert tag["tasks"] == {"organ": {"n": 40, "difference": 0.25, "p_value": 0.001953}}

    register("v4", "0" * 40, root, prompt="other")
    with pytest.raises(DataError, match=r"scored on no common sample.*--force"):
        promote("grpo", PARAMS, [], None)
    forced = promote("grpo", PARAMS, [], "the questions changed")
    assert (forced.promoted, forced.champion, aliases()["champion"]) == (True, 3, "4")
    assert client.get_model_version("tiny-grpo", "4").tags["forgeline.promotion.forced"] == "the questions changed"

    register("v5", "1" * 40, root, prompt="other")
    for file in (root / ".dvc" / "cache").rglob("*"):
        if file.is_file():
            file.unlink()
    with pytest.raises(DataError, match=r"samples of version 4 .* are not in DVC's cache: `dvc fetch --all-commits`"):
        promote("grpo", PARAMS, [], None)
    with pytest.raises(DataError, match=r"no registered model 'sft': there are tiny-grpo"):
        promote("sft", PARAMS, [], None)


@pytest.mark.slow
def test_on_sqlite(store: Path) -> None:
    promotes_only_what_is_better(store)


@pytest.fixture
def server(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An `mlflow server` on a free port, with the store of the test behind it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = ["-m", "mlflow", "server", "--port", str(port), "--workers", "1", "--backend-store-uri"]
    process = subprocess.Popen(
        [sys.executable, *command, f"sqlite:///{store / 'mlflow.db'}", "--artifacts-destination", str(store / "kept")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=store,
    )  # fmt: skip
    try:
        _wait_for(address, process)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(address: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert process.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(f"{address}/health", timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError("the server does not answer")


@pytest.mark.slow
def test_on_a_server(server: str, store: Path) -> None:
    promotes_only_what_is_better(store)
    outs = [{"path": "models/grpo", "md5": "11.dir"}]
    write_yaml(Path("dvc.lock"), {"schema": "2.0", "stages": {"merge@grpo": {"cmd": "c", "outs": outs}}})
    write_yaml(Path("params.yaml"), {"register": {"name": "tiny"}})
    assert (sync_workspace().num_new, sync_workspace().num_new) == (1, 0)
