"""DVC experiments: only what is affected runs, and its commands compare the results."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from forgeline.core.pipeline import read_pipeline
from tests.clone import Clone
from tests.pipeline.outputs import committed_copy
from tests.unit.sources.source_params import source_params

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(smoke: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A committed run in which nothing runs any more."""
    return committed_copy(smoke, tmp_path_factory.mktemp("finished") / "forgeline")


@pytest.fixture(scope="module")
def experiment(smoke: Clone, tmp_path_factory: pytest.TempPathFactory) -> tuple[Clone, str]:
    """A committed run with the experiment `cheap` on it, and what that printed."""
    clone = committed_copy(smoke, tmp_path_factory.mktemp("experiment") / "forgeline")
    changes = ["-S", "report.max_samples_per_task=3", "-S", "register.alias=other"]
    return clone, clone.dvc("exp", "run", "-n", "cheap", *changes).stdout


def as_json(clone: Clone, *command: str) -> Any:
    return json.loads(clone.dvc(*command, "--json").stdout)


def test_a_second_run_runs_nothing(finished: Clone) -> None:
    before = (finished.root / "dvc.lock").read_bytes()
    done = finished.forgeline("repro")
    printed = done.stdout + done.stderr
    assert "Running stage" not in printed
    assert "0 stages changed" in printed
    assert (finished.root / "dvc.lock").read_bytes() == before
    assert finished.run("git", "status", "--porcelain", "dvc.lock", "metrics", "params.yaml").stdout == ""


def test_a_learning_rate_affects_its_stage_and_what_follows_alone(finished: Clone) -> None:
    finished.set_params(sft__learning_rate=0.002)
    try:
        changed = as_json(finished, "status")
    finally:
        finished.run("git", "checkout", "--quiet", "params.yaml")
    assert list(changed) == ["sft"]
    assert changed["sft"] == [{"changed deps": {"params.yaml": {"sft": "modified"}}}]
    assert as_json(finished, "status") == {}
    after = descendants(finished.root, "sft")
    assert after == {
        "reward", "align@dpo", "reinforce@grpo", "merge@dpo", "merge@grpo", "quantize@rtn_w8", "quantize@gptq_w4",
        "evaluate@sft", "evaluate@dpo", "evaluate@grpo", "evaluate@rtn_w8", "evaluate@gptq_w4",
        "benchmark@grpo", "benchmark@rtn_w8", "benchmark@gptq_w4", "report", "register",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("knob", "value", "affected"),
    [
        ("compute__num_threads", 2, None),
        ("reinforce__grpo__temperature", 0.9, {"reinforce@grpo"}),
        ("benchmark__workload__num_repeats", 3, {"benchmark@grpo", "benchmark@rtn_w8", "benchmark@gptq_w4"}),
        ("ingest__sources__hpo_terms__max_documents", 2999, {"ingest@hpo_terms", "curate", "card", "pack"}),
    ],
)
def test_a_knob_affects_the_stages_that_read_it(
    finished: Clone, knob: str, value: object, affected: set[str] | None
) -> None:
    finished.set_params(**{knob: value})
    try:
        changed = set(as_json(finished, "status"))
    finally:
        finished.run("git", "checkout", "--quiet", "params.yaml")
    section = knob.partition("__")[0]
    expected = affected or {stage.address for stage in read_pipeline(finished.root) if section in stage.params}
    assert changed == expected


def test_a_new_source_affects_its_own_stages_and_what_reads_all_sources(finished: Clone) -> None:
    file = finished.root / "notes.jsonl"
    file.write_text('{"text": "One fine document."}\n')
    finished.set_params(ingest__sources__notes=source_params(path=file.name).model_dump())
    try:
        changed = set(as_json(finished, "status"))
    finally:
        finished.run("git", "checkout", "--quiet", "params.yaml")
        file.unlink()
    assert changed == {"ingest@notes", "clean@notes", "curate", "card", "pack"}


def descendants(root: Path, address: str) -> set[str]:
    """Stages that read, directly or not, what one stage makes."""
    outs: set[str] = set()
    found: set[str] = set()
    for stage in read_pipeline(root):  # in an order of execution
        if stage.address == address:
            outs |= set(stage.outs)
        elif any(out == dep or out.startswith(f"{dep}/") for out in outs for dep in stage.deps):
            found.add(stage.address)
            outs |= set(stage.outs)
    return found


def test_an_experiment_runs_only_what_is_affected(experiment: tuple[Clone, str]) -> None:
    clone, printed = experiment
    assert re.findall(r"Running stage '([^']*)'", printed) == ["report", "register"]
    assert clone.metrics("report")["records"]["out"] == 3 * 6 * 6  # samples, tasks, models


def test_experiments_are_listed_with_their_parameters_and_metrics(experiment: tuple[Clone, str]) -> None:
    clone, _ = experiment
    (head,) = [entry for entry in as_json(clone, "exp", "show") if entry["name"] == "main"]
    (found,) = [entry["revs"][0] for entry in head["experiments"]]
    assert found["name"] == "cheap"
    read = found["data"]["params"]["params.yaml"]["data"]
    assert (read["report"]["max_samples_per_task"], read["register"]["alias"]) == (3, "other")
    metrics = found["data"]["metrics"]
    assert metrics["metrics/report.json"]["data"]["records"]["out"] == 3 * 6 * 6
    loss = clone.metrics("sft")["final"]["validation_loss"]
    assert metrics["metrics/sft.json"]["data"]["final"]["validation_loss"] == loss


def test_differences_of_parameters_and_metrics_are_shown(experiment: tuple[Clone, str]) -> None:
    clone, _ = experiment
    changed = as_json(clone, "params", "diff", "HEAD")["params.yaml"]
    assert {name: (change["old"], change["new"]) for name, change in changed.items()} == {
        "report.max_samples_per_task": (2000, 3),
        "register.alias": ("candidate", "other"),
    }
    metrics = as_json(clone, "metrics", "diff", "HEAD")
    assert set(metrics) == {"metrics/report.json"}
    assert metrics["metrics/report.json"]["records.out"] == {"old": 696, "new": 108, "diff": -588}


def test_plots_are_drawn_from_the_histories(experiment: tuple[Clone, str]) -> None:
    clone, _ = experiment
    drawn = as_json(clone, "plots", "show", "metrics/history/sft.csv")
    text = json.dumps(drawn)
    assert "metrics/history/sft.csv" in text
    assert "train_loss" in text


def test_the_experiment_gets_a_new_alias_in_the_registry(experiment: tuple[Clone, str]) -> None:
    clone, _ = experiment
    script = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from mlflow import MlflowClient\n"
        "client = MlflowClient('sqlite:///mlflow.db')\n"
        "print(client.get_model_version_by_alias('forgeline-sft', 'other').version)\n"
    )
    done = subprocess.run(
        ["python", "-c", script],
        cwd=clone.root,
        capture_output=True,
        text=True,
        env={**os.environ, **clone.environment()},
    )
    assert done.stdout.strip() == "1", done.stderr
