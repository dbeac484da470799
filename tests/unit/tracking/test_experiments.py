import csv
import hashlib
import subprocess
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from rich.console import Console

from forgeline.core.errors import DataError
from forgeline.core.params import write_yaml
from forgeline.core.storage import write_csv, write_json, write_jsonl
from forgeline.tracking import experiments
from forgeline.tracking.evidence import samples_path

N = 40


def git(*arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def write_result(learning_rate: float, num: int, *, cached: bool = True) -> None:
    """params.yaml, dvc.lock, leaderboard and samples of a model that answered so many of 40 questions rightly."""
    rows: list[dict[str, Any]] = [
        {
            "task": "organ_system",
            "sample_id": f"s{i}",
            "prompt_sha256": f"p{i}",
            "correct": i < num,
            "details": {},
        }
        for i in range(N)
    ]
    samples = Path(samples_path("sft"))
    write_jsonl(samples, rows)
    digest = hashlib.md5(samples.read_bytes()).hexdigest()
    if cached:
        kept = Path(".dvc/cache/files/md5") / digest[:2] / digest[2:]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(samples.read_bytes())
    outs = [{"path": samples.as_posix(), "hash": "md5", "md5": digest, "size": 1}]
    write_yaml(Path("dvc.lock"), {"schema": "2.0", "stages": {"evaluate@sft": {"cmd": "c", "outs": outs}}})
    write_yaml(Path("params.yaml"), {"sft": {"learning_rate": learning_rate, "seed": 1}})
    value = num / N
    scores = {"organ_system.accuracy": {"value": value, "low": value - 0.1, "high": value + 0.1, "n": N}}
    row = {"model": "sft", "full_name": "llama-hpo_sft_full", "scores": scores, "cost": None}
    write_json(Path(experiments.LEADERBOARD), {"rows": [row]})
    samples.unlink()


def as_experiment(name: str, number: int) -> None:
    git("add", "--all")
    git("commit", "-qm", name)
    git("update-ref", f"refs/exps/12/{number:038d}/{name}", "HEAD")
    git("reset", "-q", "--hard", "HEAD~1")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A commit with 20 of 40 right, and experiments with 22, with 32, and with 36 whose samples are lost."""
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    Repo.init(".").close()
    Path(".gitignore").write_text("/data\n")
    write_result(0.1, 20)
    git("add", "--all")
    git("commit", "-qm", "base")
    for number, (name, rate, right) in enumerate([("near", 0.2, 22), ("far", 0.3, 32), ("lost", 0.4, 36)]):
        write_result(rate, right, cached=name != "lost")
        as_experiment(name, number)
    return tmp_path


def cells(found: experiments.Overview) -> dict[str, dict[str, Any]]:
    return {line["revision"]: line for line in experiments.as_csv(found)}


def test_differences_are_tested_on_the_same_samples(repository: Path) -> None:
    found = experiments.overview(["HEAD", "near", "far", "lost"], 1)
    assert found.differing == ["sft.learning_rate"]
    lines = cells(found)
    assert lines["HEAD"]["difference"] == 0
    assert lines["HEAD"]["significant"] == ""  # of itself
    assert lines["near"]["difference"] == pytest.approx(0.05)
    assert (lines["near"]["p_value"], lines["near"]["significant"]) == (0.5, False)  # 2 of 2: 2 / 2^2
    assert (lines["far"]["p_value"], lines["far"]["significant"]) == (2 / 2**12, True)
    assert lines["lost"]["difference"] == pytest.approx(0.4)
    assert lines["lost"]["significant"] == ""  # no samples, no verdict
    assert [line["params.sft.learning_rate"] for line in lines.values()] == [0.1, 0.2, 0.3, 0.4]
    content = experiments.as_json(found)
    assert content["reference"] == "HEAD"
    far = content["revisions"][2]
    assert (far["name"], far["params"]) == ("far", {"sft.learning_rate": 0.3})
    assert far["models"]["sft"]["comparisons"]["organ_system"]["wins"] == 12
    assert far["models"]["sft"]["scores"]["organ_system.accuracy"]["difference"] == pytest.approx(0.3)


def test_without_names_every_other_result_is_shown_once(repository: Path) -> None:
    found = experiments.overview([], 3)
    names = [result.revision.name for result in found.results]
    assert names[0] == "workspace"  # the commit `base` is the same result
    assert set(names[1:]) < {"near", "far", "lost"}
    assert (len(names), found.num_left_out) == (3, 1)


def test_the_terminal_marks_what_is_sure_and_the_file_has_every_score(repository: Path) -> None:
    found = experiments.overview(["workspace", "near", "far"], 1)
    console = Console(width=100, record=True, file=StringIO())
    console.print(experiments.overview_tables(found))
    text = console.export_text()
    assert "sft llama-hpo_sft_full" in text
    assert "▲0.800 +0.300" in text
    assert "0.550 +0.050" in text
    assert "▲0.550" not in text
    assert "0.45…0.65" in text
    write_csv(Path("all.csv"), experiments.as_csv(found))
    with Path("all.csv").open(newline="") as file:
        assert [row["value"] for row in csv.DictReader(file)] == ["0.5", "0.55", "0.8"]


def test_what_has_no_result_is_said(repository: Path) -> None:
    git("rm", "-q", "metrics/leaderboard.json")
    git("commit", "-qm", "none")
    with pytest.raises(DataError, match=r"no metrics/leaderboard\.json in HEAD: `forgeline repro` makes it"):
        experiments.overview(["HEAD"], 1)
    with pytest.raises(DataError, match="'other' is neither an experiment nor a revision of git"):
        experiments.overview(["other"], 1)
