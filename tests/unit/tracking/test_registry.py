from pathlib import Path

import pytest

from forgeline.core.errors import DataError
from forgeline.core.params import write_yaml
from forgeline.core.storage import sha256_path, write_json
from forgeline.tracking.params import RegisterParams
from forgeline.tracking.registry import mirror_or_warn, register_models, register_present
from forgeline.tracking.store import MIRROR_EXPERIMENT, open_store
from forgeline.tracking.sync import sync_all

PARAMS = RegisterParams(name="tiny", alias="candidate", models=["grpo"])
LEADERBOARD = {"rows": [{"model": "grpo", "scores": {"organ_system.accuracy": {"value": 0.75}, "is_a.mcc": None}}]}


def write_model(weights: str) -> Path:
    folder = Path("models/grpo")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_text(weights)
    inputs = {"models/grpo_adapter": "aa", "models/sft": "bb", "data/pack": "cc"}
    write_json(folder / "lineage.json", {"stage": "merge@grpo", "inputs": inputs, "tokenizer": "tt"})
    return folder


@pytest.mark.slow
def test_same_content_is_registered_once_and_the_alias_moves(store: Path) -> None:
    folder = write_model("v1")
    outs = [{"path": "models/grpo", "md5": "m1.dir"}, {"path": "data/evaluate/grpo/samples.jsonl", "md5": "s1"}]
    [first] = register_models(Path("models"), PARAMS, LEADERBOARD, {"merge@grpo": {"outs": outs[:1]}})
    [again] = register_models(Path("models"), PARAMS, LEADERBOARD, {"merge@grpo": {"outs": outs}})
    assert (first.name, first.version, first.is_new) == ("tiny-grpo", 1, True)
    assert (again.version, again.is_new) == (1, False)

    client, _ = open_store(MIRROR_EXPERIMENT)
    version = client.get_model_version_by_alias("tiny-grpo", "candidate")
    assert version.tags["forgeline.sha256"] == sha256_path(folder)
    assert version.tags["forgeline.path"] == "models/grpo"
    assert version.tags["forgeline.stage"] == "merge@grpo"
    assert version.tags["forgeline.parents"] == "models/grpo_adapter,models/sft"
    assert version.tags["forgeline.tokenizer"] == "tt"
    assert version.tags["forgeline.name"] == "grpo"  # nothing in this lock trains a model
    assert version.tags["forgeline.md5"] == "m1.dir"
    assert version.tags["forgeline.samples.md5"] == "s1"  # evaluated after it was registered
    assert version.tags["score.organ_system.accuracy"] == "0.7500"

    write_model("v2")
    [second] = register_models(Path("models"), PARAMS, LEADERBOARD, {})
    assert (second.version, second.is_new) == (2, True)
    assert str(client.get_model_version_by_alias("tiny-grpo", "candidate").version) == "2"
    write_model("v1")  # back to the first weights: its version gets the alias again
    [back] = register_models(Path("models"), PARAMS, LEADERBOARD, {})
    assert (back.version, back.is_new) == (1, False)


@pytest.mark.slow
def test_with_the_server_down_the_run_goes_on_and_sync_catches_up(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_model("v1")
    outs = [{"path": "models/grpo", "md5": "m1.dir"}]
    write_yaml(Path("dvc.lock"), {"schema": "2.0", "stages": {"merge@grpo": {"cmd": "c", "outs": outs}}})
    write_yaml(Path("params.yaml"), {"register": {}})
    write_json(Path("metrics/leaderboard.json"), LEADERBOARD)
    locked = {"merge@grpo": {"outs": outs}}
    with monkeypatch.context() as down:
        down.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # the discard port: nothing listens
        down.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        [model] = mirror_or_warn(Path("models"), PARAMS, LEADERBOARD, locked)
    assert (model.sha256, model.version, model.is_new) == (sha256_path(folder), None, False)
    printed = capsys.readouterr().err
    assert printed.count("warning") == 1
    assert "forgeline sync" in printed

    assert sync_all().num_new == 1
    [caught_up] = register_present(Path("models"), PARAMS, Path("metrics/leaderboard.json"), locked)
    assert (caught_up.version, caught_up.is_new) == (1, True)
    assert register_present(Path("nowhere"), PARAMS, Path("metrics/leaderboard.json"), locked) == []


def test_switched_off_only_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FORGELINE_TRACKING", "off")
    folder = write_model("v1")
    [model] = register_models(Path("models"), PARAMS, LEADERBOARD, {})
    assert (model.sha256, model.version) == (sha256_path(folder), None)


def test_a_missing_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"models/grpo does not exist.*register\.models"):
        register_models(Path("models"), PARAMS, LEADERBOARD, {})
