"""register: MLflow knows every model by its content and lineage, and a second run adds nothing."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

from forgeline.core.storage import sha256_path
from tests.clone import Clone
from tests.pipeline.outputs import committed_copy, params

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(smoke: Clone, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return client_of(smoke, tmp_path_factory.mktemp("store"))


def client_of(run: Clone, folder: Path) -> Any:
    """A client of a copy of the run's store: opening one may write."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        copy = shutil.copy(run.root / "mlflow.db", folder / "mlflow.db")
        return MlflowClient(f"sqlite:///{copy}")


def versions(client: Any) -> dict[str, list[Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: dict[str, list[Any]] = {}
        for version in client.search_model_versions():
            found.setdefault(version.name, []).append(version)
        return found


def test_every_model_has_one_version_under_the_alias(smoke: Clone, client: Any) -> None:
    knobs = params(smoke)["register"]
    found = versions(client)
    assert set(found) == {f"{knobs['name']}-{model}" for model in knobs["models"]}
    for name, all_versions in found.items():
        assert len(all_versions) == 1
        assert client.get_model_version_by_alias(name, knobs["alias"]).version == all_versions[0].version


def test_a_version_is_tagged_with_content_lineage_and_scores(smoke: Clone, client: Any) -> None:
    for name, (version,) in versions(client).items():
        model = name.partition("-")[2]
        folder = smoke.root / "models" / model
        lineage = json.loads((folder / "lineage.json").read_text())
        parents = sorted(path for path in lineage["inputs"] if path.startswith("models/"))
        assert version.tags["forgeline.sha256"] == sha256_path(folder)
        assert version.tags["forgeline.path"] == f"models/{model}"
        assert version.tags["forgeline.stage"] == lineage["stage"]
        assert version.tags["forgeline.parents"].split(",") == parents
        assert version.tags["forgeline.tokenizer"] == smoke.metrics("tokenizer")["fingerprint"]
        assert version.tags["forgeline.code_sha256"] == lineage["code_sha256"]
        score = smoke.metrics(f"evaluate/{model}")["tasks"]["perplexity"]["bits_per_byte"]["value"]
        assert float(version.tags["score.perplexity.bits_per_byte"]) == pytest.approx(score, abs=1e-4)


def test_the_metrics_file_says_what_was_registered(smoke: Clone, client: Any) -> None:
    found = smoke.metrics("register")["models"]
    assert set(found) == set(params(smoke)["register"]["models"])
    for entry in found.values():
        (version,) = versions(client)[entry["name"]]
        assert entry["version"] == int(version.version)
        assert entry["sha256"] == version.tags["forgeline.sha256"]
        assert entry["is_new"]


def test_the_result_is_mirrored_with_a_run_for_each_stage(smoke: Clone, client: Any) -> None:
    (experiment,) = [found for found in client.search_experiments() if found.name == "forgeline"]
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    kinds = [run.data.tags["forgeline.kind"] for run in runs]
    assert kinds.count("result") == 1
    mirrored = {run.data.tags["forgeline.stage"]: run for run in runs if run.data.tags["forgeline.kind"] == "stage"}
    assert set(mirrored) == {stage for stage in smoke.lock() if stage != "register"}
    final = smoke.metrics("pretrain")["final"]["validation_loss"]
    assert mirrored["pretrain"].data.metrics["final.validation_loss"] == pytest.approx(final)
    assert mirrored["sft"].data.params["sft.learning_rate"] == str(params(smoke)["sft"]["learning_rate"])


def test_training_curves_are_logged_live(smoke: Clone, client: Any) -> None:
    (experiment,) = [found for found in client.search_experiments() if found.name == "forgeline-live"]
    runs = client.search_runs([experiment.experiment_id])
    found = {run.info.run_name.partition(" ")[0]: run for run in runs}
    assert set(found) >= {"pretrain", "sft", "reward", "align@dpo", "reinforce@grpo"}
    steps = {point.step for point in client.get_metric_history(found["sft"].info.run_id, "train_loss")}
    assert steps == set(range(1, params(smoke)["sft"]["num_steps"] + 1))


def test_registering_again_adds_nothing(smoke: Clone, tmp_path: Path) -> None:
    copy = committed_copy(smoke, tmp_path / "forgeline")
    (command,) = [entry["cmd"] for stage, entry in copy.lock().items() if stage == "register"]
    for is_new in (True, False):
        copy.run(*command.split())
        assert {entry["is_new"] for entry in copy.metrics("register")["models"].values()} == {is_new}
        (tmp_path / str(is_new)).mkdir()
        client = client_of(copy, tmp_path / str(is_new))
        assert {name: len(found) for name, found in versions(client).items()} == {
            entry["name"]: 1 for entry in copy.metrics("register")["models"].values()
        }
        (experiment,) = [found for found in client.search_experiments() if found.name == "forgeline"]
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        assert len(runs) == len(copy.lock())  # one result, and every stage but `register`
