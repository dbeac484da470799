import random
from pathlib import Path

import pytest

from forgeline.core.errors import StopRequested
from forgeline.tracking.live import LiveRun
from forgeline.tracking.store import LIVE_EXPERIMENT, open_store

pytestmark = pytest.mark.slow  # opening a new sqlite store runs MLflow's migrations


def test_a_stopped_stage_continues_its_run_without_doubled_steps(store: Path) -> None:
    def stopped() -> None:
        with LiveRun("sft", {"sft": {"learning_rate": 3e-5}}, "abc") as live:
            live.log(1, {"loss": 3.0})
            live.log(2, {"loss": 2.0, "validation_loss": 2.5})
            raise StopRequested("stopped")

    with pytest.raises(StopRequested):
        stopped()
    client, experiment = open_store(LIVE_EXPERIMENT)
    [run] = client.search_runs([experiment])
    assert run.info.status == "KILLED"

    with LiveRun("sft", {"sft": {"learning_rate": 3e-5}}, "abc") as live:
        live.log(2, {"loss": 2.0, "validation_loss": 2.5})  # repeated from the checkpoint
        live.log(3, {"loss": 1.0})

    [again] = client.search_runs([experiment])
    assert (again.info.run_id, again.info.status, again.info.run_name) == (run.info.run_id, "FINISHED", "sft")
    assert again.data.params == {"sft.learning_rate": "3e-05"}
    points = [(point.step, point.value) for point in client.get_metric_history(again.info.run_id, "loss")]
    assert sorted(points) == [(1, 3.0), (2, 2.0), (3, 1.0)]

    with LiveRun("sft", {}, "another fingerprint"):
        pass
    assert len(client.search_runs([experiment])) == 2


def test_tracking_leaves_the_random_state_alone(store: Path) -> None:
    random.seed(5)
    expected = random.random()
    random.seed(5)
    with LiveRun("pretrain", {}, "f1") as live:
        live.log(1, {"loss": 1.0})
    assert random.random() == expected


def test_training_goes_on_when_the_store_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORGELINE_TRACKING", "on")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # the discard port: nothing listens
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with LiveRun("sft", {}, "abc") as live:
        live.log(1, {"loss": 1.0})
    message = capsys.readouterr().err
    assert message.count("training goes on without tracking") == 1
    assert "127.0.0.1:9" in message
