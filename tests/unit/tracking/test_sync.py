import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from forgeline.core.params import write_yaml
from forgeline.core.storage import write_csv, write_json
from forgeline.tracking.store import MIRROR_EXPERIMENT, open_store
from forgeline.tracking.sync import result_key, sync_all, sync_workspace

pytestmark = pytest.mark.slow


def git(*arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def write_result(learning_rate: float) -> None:
    """dvc.lock, params.yaml and metrics of a pipeline of two stages; only the second depends on the learning rate."""
    pack = {"cmd": "python -m stages.pack", "outs": [{"path": "data/pack", "md5": "11.dir"}]}
    sft: dict[str, Any] = {
        "cmd": "python -m stages.sft",
        "deps": [{"path": "data/pack", "md5": "11.dir"}],
        "params": {"params.yaml": {"sft": {"learning_rate": learning_rate}}},
        "outs": [
            {"path": "metrics/history/sft.csv", "md5": f"h{learning_rate}"},
            {"path": "metrics/sft.json", "md5": f"m{learning_rate}"},
            {"path": "models/sft", "md5": f"w{learning_rate}.dir"},
        ],
    }
    write_yaml(Path("dvc.lock"), {"schema": "2.0", "stages": {"pack": pack, "sft": sft}})
    write_yaml(Path("params.yaml"), {"sft": {"learning_rate": learning_rate}})
    score = {"value": 0.8, "low": 0.7, "high": 0.9, "n": 50, "baseline": 0.2, "baseline_name": "majority class"}
    write_json(Path("metrics/sft.json"), {"records": {"in": 5, "out": 5, "dropped": {}}, "tasks": {"organ": score}})
    write_csv(Path("metrics/history/sft.csv"), [{"step": 1, "train_loss": 3.5, "x": ""}, {"step": 2, "train_loss": 3}])


def runs(condition: str) -> list[Any]:
    client, experiment = open_store(MIRROR_EXPERIMENT)
    return list(client.search_runs([experiment], condition, order_by=["attributes.start_time"]))


def test_workspace_then_commit_is_one_run_and_a_second_sync_adds_nothing(store: Path) -> None:
    write_result(0.1)
    assert sync_workspace().num_new == 1  # no git repository yet
    git("init", "-q")
    assert sync_workspace().num_new == 0  # nothing committed yet
    git("add", "dvc.lock", "params.yaml", "metrics")
    git("commit", "-qm", "first result")
    assert sync_all().num_new == 0
    [parent] = runs("tags.`forgeline.kind` = 'result'")
    assert parent.info.run_name.endswith(" first result")
    assert len(parent.data.tags["mlflow.source.git.commit"]) == 40
    assert parent.data.params == {"sft.learning_rate": "0.1"}
    assert parent.data.metrics["sft/organ"] == 0.8

    write_result(0.2)
    git("commit", "-qam", "second result")
    assert sync_all().num_new == 1
    origins = [(r.info.run_name, r.data.tags["forgeline.origin"]) for r in runs("tags.`forgeline.kind` = 'stage'")]
    assert sorted(origins) == [("pack", "executed"), ("pack", "restored"), ("sft", "executed"), ("sft", "executed")]

    before = len(runs(""))
    start = time.monotonic()
    report = sync_all()
    assert time.monotonic() - start < 5
    assert (report.num_new, len(runs(""))) == (0, before)


def test_a_stage_run_holds_its_curve_and_its_output_hashes(store: Path) -> None:
    write_result(0.1)
    sync_workspace()
    [sft] = runs("tags.`forgeline.stage` = 'sft'")
    assert sft.data.tags["forgeline.out.models/sft"] == "w0.1.dir"
    assert sft.data.metrics["organ"] == 0.8
    assert sft.data.metrics["organ.low"] == 0.7
    client, _ = open_store(MIRROR_EXPERIMENT)
    curve = client.get_metric_history(sft.info.run_id, "history/train_loss")
    assert sorted((point.step, point.value) for point in curve) == [(1, 3.5), (2, 3.0)]


def test_an_experiment_is_mirrored_under_its_name(store: Path) -> None:
    git("init", "-q")
    write_result(0.1)
    git("add", ".")
    git("commit", "-qm", "base")
    write_result(0.2)
    git("add", ".")
    git("commit", "-qm", "experiment")
    git("update-ref", "refs/exps/12/" + "3" * 38 + "/tall-tree", "HEAD")
    git("reset", "-q", "--hard", "HEAD~1")
    assert sync_all().num_new == 2
    names = [run.info.run_name for run in runs("tags.`forgeline.kind` = 'result'")]
    assert "tall-tree" in names


def test_a_half_written_mirror_is_made_again(store: Path) -> None:
    write_result(0.1)
    sync_workspace()
    client, _ = open_store(MIRROR_EXPERIMENT)
    [parent] = runs("tags.`forgeline.kind` = 'result'")
    client.update_run(parent.info.run_id, status="RUNNING")  # as a killed sync leaves it
    assert sync_workspace().num_new == 1
    assert len(runs("tags.`forgeline.kind` = 'stage'")) == 2


def test_without_a_pipeline_result_there_is_nothing_to_mirror(store: Path) -> None:
    assert sync_all() == sync_workspace()
    assert runs("") == []


def test_any_change_of_an_output_is_another_result() -> None:
    entry = {"cmd": "c", "outs": [{"path": "models/sft", "md5": "a"}]}
    other = {"cmd": "c", "outs": [{"path": "models/sft", "md5": "b"}]}
    assert result_key({"sft": entry}) == result_key({"sft": dict(reversed(entry.items()))})
    assert result_key({"sft": entry}) != result_key({"sft": other})
