import errno
import hashlib
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from forgeline.core import run as run_module
from forgeline.core.errors import DataError, ForgelineError, StopRequested, describe_os_error
from forgeline.core.params import Section
from forgeline.core.run import Counts, StageRun, command_line

DVC_YAML = """\
stages:
  work:
    foreach: [one, two]
    do:
      cmd: python -m stages.work
      deps: [src/code.py, data/in.txt]
      params: [work]
      outs: [data/out.txt, models/out]
      metrics: [metrics/work.json: {cache: false}]
"""
FULL = Path("/dev/full")


class WorkParams(Section):
    size: int = Field(ge=0)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one stage whose params.yaml was already checked, as working directory."""
    for name, text in {
        "dvc.yaml": DVC_YAML,
        "params.yaml": "work: {size: 3}\n",
        "constraints.txt": "torch==1\n",
        "src/code.py": "one = 1\n",
        "data/in.txt": "in\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    stamp = tmp_path / ".dvc" / "tmp" / "forgeline-checked"
    stamp.parent.mkdir(parents=True)
    stamp.write_text(hashlib.sha256(b"work: {size: 3}\n" + DVC_YAML.encode()).hexdigest())
    return tmp_path


def stage(address: str = "work@one", size: int = 3) -> StageRun:
    return StageRun(address, {"work": WorkParams(size=size)}, Path("metrics/work.json"))


def content(root: Path) -> dict[str, str]:
    """Every file a user could see change, partial ones included."""
    files = [path for part in ("data", "models", "metrics") for path in sorted((root / part).rglob("*"))]
    return {path.relative_to(root).as_posix(): path.read_text() for path in files if path.is_file()}


def test_all_but_the_main_process_write_nowhere_and_say_nothing(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with stage() as run:
        main_scratch = run.scratch()
        run.output(Path("data/out.txt")).write_text("of the main process")
        monkeypatch.setenv("RANK", "1")
        capsys.readouterr()
        with stage() as other:
            assert other.scratch() == main_scratch
            assert other.fingerprint() == run.fingerprint()
            out, folder = other.output(Path("data/out.txt")), other.output(Path("models/out"))
            out.write_text("of another")
            folder.mkdir()
            other.write_lineage(folder)
            other.summarize(Counts(1, 1))
        assert not out.exists()
        assert main_scratch.exists()
        assert capsys.readouterr().err == ""
        monkeypatch.delenv("RANK")
        run.summarize(Counts(1, 1))
    assert (repository / "data/out.txt").read_text() == "of the main process"
    assert sorted(content(repository)) == ["data/in.txt", "data/out.txt", "metrics/work.json"]


def work(text: str, fail_at: int | None = None) -> None:
    """Writes a file, a folder and the metrics; raises before action number `fail_at`."""
    with stage() as run:
        for number, action in enumerate(
            (
                lambda: run.output(Path("data/out.txt")).write_text(text),
                lambda: run.output(Path("models/out")).mkdir(),
                lambda: (Path("models/.out.partial") / "weights").write_text(text),
                lambda: run.summarize(Counts(1, 1), text=text),
                lambda: None,
            )
        ):
            if number == fail_at:
                raise ForgelineError("in the middle")
            action()


AFTER = {
    "data/in.txt": "in\n",
    "data/out.txt": "new",
    "models/out/weights": "new",
    "metrics/work.json": json.dumps({"records": {"dropped": {}, "in": 1, "out": 1}, "text": "new"}, indent=2) + "\n",
}


class TestCounts:
    def test_json_form(self) -> None:
        assert Counts(5, 2, {"short": 2, "copy": 1}).as_json() == {
            "in": 5,
            "out": 2,
            "dropped": {"short": 2, "copy": 1},
        }

    @given(st.integers(0, 9), st.integers(0, 9), st.dictionaries(st.text(), st.integers(0, 9), max_size=3))
    def test_only_sums_that_add_up(self, num_in: int, num_out: int, dropped: dict[str, int]) -> None:
        if num_in == num_out + sum(dropped.values()):
            Counts(num_in, num_out, dropped)
        else:
            with pytest.raises(ValueError, match=f"records do not add up: {num_in} in, {num_out} out"):
                Counts(num_in, num_out, dropped)


class TestOutputs:
    def test_they_stand_in_their_place_once_the_stage_succeeded(self, repository: Path) -> None:
        with stage() as run:
            run.output(Path("data/out.txt")).write_text("new")
            run.summarize(Counts(0, 0))
            assert not Path("data/out.txt").exists()
            assert not Path("metrics/work.json").exists()
        assert Path("data/out.txt").read_text() == "new"
        assert json.loads(Path("metrics/work.json").read_text()) == {"records": {"in": 0, "out": 0, "dropped": {}}}

    def test_they_replace_earlier_ones_whole(self, repository: Path) -> None:
        Path("models/out").mkdir(parents=True)
        Path("models/out/left-over").write_text("old")
        Path("data/out.txt").write_text("old")
        work("new")
        assert content(repository) == AFTER

    @pytest.mark.parametrize("fail_at", range(5))
    def test_a_failure_leaves_none_when_there_were_none(self, repository: Path, fail_at: int) -> None:
        before = content(repository)
        with pytest.raises(ForgelineError, match="in the middle"):
            work("new", fail_at)
        assert content(repository) == before

    @pytest.mark.parametrize("fail_at", range(5))
    def test_a_failure_leaves_the_previous_ones_whole(self, repository: Path, fail_at: int) -> None:
        work("old")
        before = content(repository)
        assert before["models/out/weights"] == "old"
        with pytest.raises(ForgelineError, match="in the middle"):
            work("new", fail_at)
        assert content(repository) == before

    @pytest.mark.parametrize("stop", [StopRequested, KeyboardInterrupt])
    def test_a_stop_leaves_the_previous_ones_whole(self, repository: Path, stop: type[BaseException]) -> None:
        work("old")
        before = content(repository)

        def stopped() -> None:
            with stage() as run:
                run.output(Path("models/out")).mkdir()
                raise stop

        with pytest.raises(stop):
            stopped()
        assert content(repository) == before

    def test_what_a_killed_stage_left_does_not_leak_into_the_next_run(self, repository: Path) -> None:
        Path("models/.out.partial").mkdir(parents=True)
        Path("models/.out.partial/stale").write_text("half")
        Path("models/.out.replaced").mkdir()
        Path("models/.out.replaced/stale").write_text("aside")
        Path("models/out").mkdir()
        Path("data/.out.txt.partial").write_text("half")
        work("new")
        assert content(repository) == AFTER

    def test_a_stage_that_forgets_its_summary_is_a_bug_and_changes_nothing(self, repository: Path) -> None:
        before = content(repository)
        with pytest.raises(RuntimeError, match="work@one ended without a summary"), stage() as run:
            run.output(Path("data/out.txt")).write_text("new")
        assert content(repository) == before

    def test_a_stage_that_forgets_an_output_is_a_bug_and_changes_nothing(self, repository: Path) -> None:
        work("old")
        before = content(repository)

        def forgetful() -> None:
            with stage() as run:
                run.output(Path("data/out.txt")).write_text("new")
                run.output(Path("models/out"))
                run.summarize(Counts(0, 0))

        with pytest.raises(RuntimeError, match="work@one ended without models/out"):
            forgetful()
        assert content(repository) == before

    def test_two_runs_write_the_same_bytes(self, repository: Path) -> None:
        work("new")
        first = content(repository)
        work("new")
        assert content(repository) == first


class TestScratch:
    def folder(self, address: str = "work@one", size: int = 3) -> Path:
        return stage(address, size).scratch().resolve()

    def test_the_same_work_finds_it_again(self, repository: Path) -> None:
        first = self.folder()
        assert first.parent == repository / ".dvc" / "tmp" / "scratch"
        assert first.name.startswith("work-one-")
        assert self.folder() == first

    def test_other_work_gets_another(self, repository: Path) -> None:
        folders = [self.folder(), self.folder(size=4), self.folder("work@two")]
        Path("data/in.txt").write_text("other\n")
        folders.append(self.folder())
        Path("src/code.py").write_text("one = 2\n")
        folders.append(self.folder())
        assert len(set(folders)) == 5

    def test_files_that_are_no_deps_do_not_matter(self, repository: Path) -> None:
        first = self.folder()
        Path("src/other.py").write_text("")
        os.utime("data/in.txt", (1, 1))
        assert self.folder() == first

    def test_success_removes_it(self, repository: Path) -> None:
        with stage() as run:
            folder = run.scratch()
            (folder / "checkpoint").write_text("x")
            run.summarize(Counts(0, 0))
        assert not folder.exists()

    def test_failure_keeps_it(self, repository: Path) -> None:
        def stopped() -> None:
            with stage() as run:
                (run.scratch() / "checkpoint").write_text("x")
                raise StopRequested

        with pytest.raises(StopRequested):
            stopped()
        assert (stage().scratch() / "checkpoint").read_text() == "x"

    def test_a_copy_of_the_repository_uses_the_originals(
        self, repository: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DVC_ROOT", str(repository / "original"))
        assert self.folder().parent == repository / "original" / ".dvc" / "tmp" / "scratch"

    def test_a_stage_that_dvc_does_not_know_is_refused(self, repository: Path) -> None:
        with pytest.raises(DataError, match=r"dvc\.yaml has no stage 'work@three'"):
            self.folder("work@three")

    def test_a_missing_input_is_named(self, repository: Path) -> None:
        Path("data/in.txt").unlink()
        with pytest.raises(DataError, match=r"data/in\.txt does not exist"):
            self.folder()


def test_lineage_names_what_a_model_was_made_from(repository: Path) -> None:
    Path("model").mkdir()
    stage().write_lineage(Path("model"), tokenizer="abc")
    lineage = json.loads(Path("model/lineage.json").read_text())
    code = hashlib.sha256(b"one = 1\n").hexdigest()
    assert set(lineage.pop("environment")) == {"python", "machine", "system", "libraries", "constraints_sha256"}
    assert lineage == {
        "stage": "work@one",
        "params": {"work": {"size": 3}},
        "inputs": {"data/in.txt": hashlib.sha256(b"in\n").hexdigest()},
        "code_sha256": hashlib.sha256(json.dumps({"src/code.py": code}).encode()).hexdigest(),
        "tokenizer": "abc",
    }


class TestParamsCheck:
    @pytest.fixture
    def calls(self, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        calls: list[list[str]] = []

        def fake(command: list[str], **_options: Any) -> Any:
            calls.append(command)
            return type("Done", (), {"returncode": 1 if "bad" in Path("params.yaml").read_text() else 0})

        monkeypatch.setattr(run_module.subprocess, "run", fake)
        return calls

    def enter(self) -> None:
        with stage() as run:
            run.summarize(Counts(0, 0))

    def test_it_runs_once_for_one_content(self, repository: Path, calls: list[list[str]]) -> None:
        self.enter()
        assert calls == []  # the fixture's stamp says that it was done
        Path("params.yaml").write_text("work: {size: 4}\n")
        self.enter()
        self.enter()
        assert calls == [[sys.executable, "-m", "forgeline.cli", "check", "--quiet"]]
        Path("dvc.yaml").write_text(DVC_YAML + "# changed\n")
        self.enter()
        assert len(calls) == 2

    def test_an_invalid_file_stops_before_anything_and_is_checked_again(
        self, repository: Path, calls: list[list[str]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("params.yaml").write_text("work: bad\n")
        for expected_calls in (1, 2):
            with pytest.raises(SystemExit) as caught:
                self.enter()
            assert caught.value.code == 1
            assert len(calls) == expected_calls
        assert capsys.readouterr().err == ""  # the check itself has said what is wrong
        assert "metrics/work.json" not in content(repository)


@pytest.mark.parametrize(
    ("order", "line"),
    [("work@two,work@one", "[2/2] work@one\n"), ("work@two", "work@one\n"), (None, "work@one\n")],
)
def test_a_stage_announces_its_place(
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    order: str | None,
    line: str,
) -> None:
    monkeypatch.delenv("FORGELINE_STAGE_ORDER", raising=False)
    if order is not None:
        monkeypatch.setenv("FORGELINE_STAGE_ORDER", order)
    with stage() as run:
        run.summarize(Counts(0, 0))
    assert capsys.readouterr().err == line


class TestCommandLine:
    @pytest.fixture(autouse=True)
    def handlers(self):
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        yield
        for number, handler in before.items():
            signal.signal(number, handler)

    @pytest.fixture
    def failing(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> Callable[[Callable[[], object]], tuple[object, str]]:
        """Runs an action as a stage's main; returns exit status and what stands on stderr."""

        def run(action: Callable[[], object]) -> tuple[object, str]:
            def main(some_input: Path) -> None:
                action()

            monkeypatch.setattr(sys, "argv", ["stage", "--some-input", "x"])
            with pytest.raises(SystemExit) as caught:
                command_line(main)
            return caught.value.code, capsys.readouterr().err

        return run

    def test_arguments_are_named_after_the_parameters_and_typed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[object] = []

        def main(some_input: Path, tag: str) -> None:
            seen.extend([some_input, tag])

        monkeypatch.setattr(sys, "argv", ["stage", "--tag", "a", "--some-input", "data/x"])
        command_line(main)
        assert seen == [Path("data/x"), "a"]

    def test_every_argument_is_required(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def main(some_input: Path) -> None:
            raise AssertionError("ran without its input")

        monkeypatch.setattr(sys, "argv", ["stage"])
        with pytest.raises(SystemExit) as caught:
            command_line(main)
        assert caught.value.code == 2
        assert "--some-input" in capsys.readouterr().err

    @pytest.mark.parametrize("kind", [ForgelineError, DataError])
    def test_an_expected_error_is_one_message_and_status_1(self, failing: Any, kind: type[Exception]) -> None:
        def action() -> None:
            raise kind("x.json is missing: run `dvc repro`")

        assert failing(action) == (1, "forgeline: x.json is missing: run `dvc repro`\n")

    def test_a_bug_keeps_its_traceback(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def main() -> None:
            raise KeyError("bug")

        monkeypatch.setattr(sys, "argv", ["stage"])
        with pytest.raises(KeyError):
            command_line(main)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_is_status_130(self, failing: Any, number: signal.Signals) -> None:
        assert failing(lambda: signal.raise_signal(number)) == (130, f"forgeline: stopped by {number.name}\n")

    @pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
    def test_a_full_disk_says_so(self, failing: Any) -> None:
        status, message = failing(lambda: FULL.write_text("x"))
        assert (status, message) == (1, "forgeline: the disk is full: free some space and run again\n")

    def test_a_missing_file_is_named(self, failing: Any) -> None:
        path = f"/nowhere-{random.randrange(10**9)}/x"
        assert failing(lambda: Path(path).read_text()) == (1, f"forgeline: cannot use {path}: no such file or folder\n")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space", "a/b"), "cannot use a/b: the disk is full: free some space and run again"),
        (OSError(errno.EROFS, "Read-only"), "the file system is read-only: choose another folder or remount it"),
        (OSError(errno.EIO, "Input/output error", "a"), "cannot use a: [Errno 5] Input/output error: 'a'"),
        (OSError("a library's own words"), "a library's own words"),
    ],
)
def test_operating_system_errors_become_one_line(error: OSError, expected: str) -> None:
    assert describe_os_error(error) == expected
