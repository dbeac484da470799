from pathlib import Path

import pytest

from forgeline.core.errors import DataError
from forgeline.core.storage import sha256_path, write_json
from forgeline.tracking.params import RegisterParams
from forgeline.tracking.registry import register_models
from forgeline.tracking.store import MIRROR_EXPERIMENT, open_store

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
