"""Stages leave a note of what they took, for `forgeline plan` alone."""

import hashlib
from pathlib import Path

import pytest

from forgeline.core.durations import FOLDER, note_duration, read_durations
from forgeline.core.errors import ForgelineError
from forgeline.core.params import Section
from forgeline.core.run import Counts, StageRun

DVC_YAML = """\
stages:
  work:
    cmd: python -m stages.work
    deps: [src/code.py]
    metrics: [metrics/work.json: {cache: false}]
"""


class WorkParams(Section):
    size: int


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in {
        "dvc.yaml": DVC_YAML, "params.yaml": "work: {size: 3}\n", "constraints.txt": "", "src/code.py": "one = 1\n",
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    stamp = tmp_path / ".dvc" / "tmp" / "forgeline-checked"
    stamp.parent.mkdir(parents=True)
    stamp.write_text(hashlib.sha256(b"work: {size: 3}\n" + DVC_YAML.encode()).hexdigest())
    return tmp_path


def stage() -> StageRun:
    return StageRun("work", {"work": WorkParams(size=3)}, Path("metrics/work.json"))


def test_a_finished_stage_leaves_time_memory_params_and_figures(repository: Path) -> None:
    with stage() as run:
        Path("params.yaml").write_text("work: {size: 4}\n")  # what the user plans next
        run.summarize(Counts(5, 5), tokens=7)
    [(address, duration)] = read_durations(repository).items()
    assert address == "work"
    assert duration.params == {"work": {"size": 3}}
    assert duration.summary == {"records": {"in": 5, "out": 5, "dropped": {}}, "tokens": 7}
    assert 0 < duration.seconds < 3600
    assert 10e6 < duration.peak_memory_bytes < 100e9


def test_the_note_is_no_output() -> None:
    with stage() as run:
        run.summarize(Counts(0, 0))
    assert FOLDER.parts[:2] == (".dvc", "tmp")
    assert [path.name for path in Path("metrics").iterdir()] == ["work.json"]


def test_a_failed_stage_leaves_none(repository: Path) -> None:
    def fail() -> None:
        with stage() as run:
            run.summarize(Counts(0, 0))
            raise ForgelineError("in the middle")

    with pytest.raises(ForgelineError):
        fail()
    assert read_durations(repository) == {}


def test_a_resumed_stage_leaves_none_since_part_of_its_work_was_done_before(repository: Path) -> None:
    stage().scratch()
    with stage() as run:
        run.scratch()
        run.summarize(Counts(0, 0))
    assert read_durations(repository) == {}


def test_a_later_run_replaces_the_note(repository: Path) -> None:
    for number in (1, 2):
        note_duration(repository, "work@a", {}, {"number": number})
    assert read_durations(repository)["work@a"].summary == {"number": 2}


def test_a_disk_that_refuses_the_note_does_not_fail_the_stage(repository: Path) -> None:
    (repository / FOLDER).write_text("a file in the place of the folder")
    with stage() as run:
        run.summarize(Counts(0, 0))
    assert Path("metrics/work.json").exists()
    assert read_durations(repository) == {}


def test_notes_that_cannot_be_read_are_passed_over(repository: Path) -> None:
    note_duration(repository, "good", {}, {})
    for name, text in {"broken": "{", "list": "[]", "other": '{"seconds": 1}'}.items():
        (repository / FOLDER / f"{name}.json").write_text(text)
    assert list(read_durations(repository)) == ["good"]
