import subprocess
from pathlib import Path

import pytest

from forgeline.core.params import write_yaml
from forgeline.core.storage import write_csv
from forgeline.reporting.overlay import overlay


def git(*arguments: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def train(learning_rate: float, losses: list[float]) -> None:
    write_yaml(Path("params.yaml"), {"model": {"kind": "llama"}, "sft": {"learning_rate": learning_rate, "seed": 1}})
    write_csv(Path("metrics/history/sft.csv"), [{"step": i, "train_loss": loss} for i, loss in enumerate(losses)])
    write_csv(Path("metrics/history/base.csv"), [{"step": i, "train_loss": 1.0} for i in range(3)])
    Path("dvc.lock").write_text(str(learning_rate))


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three commits with curves of their own, one that changed nothing, an experiment, and files that are changed."""
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    for number, rate in enumerate((0.1, 0.2, 0.3)):
        train(rate, [3.0, 2.0, 1.0 + rate])
        git("add", "--all")
        git("commit", "--quiet", "-m", f"rate {rate}", "--date", f"2026-01-0{number + 1}T00:00:00")
    Path("dvc.lock").write_text("another")
    git("commit", "--quiet", "-am", "nothing trained")
    train(0.4, [3.0, 2.0, 0.5])
    git("commit", "--quiet", "-am", "cheap")
    git("update-ref", f"refs/exps/ab/{'c' * 38}/cheap-try", "HEAD")
    git("reset", "--quiet", "--hard", "HEAD~1")
    train(0.5, [3.0, 2.0, 0.4])


@pytest.mark.usefixtures("trained")
def test_states_with_curves_of_their_own_are_laid_over_each_other() -> None:
    found = overlay(8)
    names = [experiment.revision.name for _, experiment in found.experiments]
    assert names[0] == "workspace"
    assert "cheap-try" in names
    assert len(names) == 5  # the commit that changed nothing has the curves of the one before
    [(stage, column, chart)] = found.charts  # those of `base` are the same everywhere
    assert (stage, column) == ("sft", "train_loss")
    assert chart.count('class="line') == 5
    assert "workspace ends at 0.4" in chart
    assert found.num_left_out == 0


@pytest.mark.usefixtures("trained")
def test_parameters_that_differ_are_named() -> None:
    changes = {experiment.revision.name: experiment.changes for _, experiment in overlay(8).experiments}
    assert changes["workspace"] == []
    assert changes["cheap-try"] == [("sft.learning_rate", "0.4", "0.5")]
    write_yaml(Path("params.yaml"), {"sft": {"learning_rate": 0.5, "epochs": 2}, "model": {"kind": "gemma"}})
    [cheap] = [it for _, it in overlay(8).experiments if it.revision.name == "cheap-try"]
    assert cheap.changes == [("model.kind", "llama", "gemma"), ("sft.learning_rate", "0.4", "0.5")]
    assert cheap.num_unshared == 2


@pytest.mark.usefixtures("trained")
def test_only_so_many_are_shown_and_the_rest_is_counted() -> None:
    found = overlay(3)
    assert len(found.experiments) == 3
    assert found.num_left_out == 2
    assert overlay(0).experiments == []


@pytest.mark.usefixtures("trained")
def test_a_revision_that_cannot_be_read_does_not_hide_the_others() -> None:
    Path("metrics/history/sft.csv").write_text("step,train_loss\n1,oops\n")
    git("commit", "--quiet", "-am", "broken")
    train(0.5, [3.0, 2.0, 0.4])
    assert len(overlay(8).experiments) == 5


def test_without_git_there_is_nothing_to_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    train(0.1, [1.0, 2.0])
    assert overlay(8).experiments == []
