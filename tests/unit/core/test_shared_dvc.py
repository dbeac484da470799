import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from dvc import rwlock as locks
from dvc.lock import LockError
from dvc.repo import Repo, reproduce
from dvc.utils import strictyaml
from dvc.utils.serialize import _yaml

from forgeline.core.run import check_params_once
from forgeline.repro import CHECKED, check_params
from forgeline.shared_dvc import share_dvc_work

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # DVC reads a trie in an old way

PIPELINE = """\
stages:
  split:
    foreach: ${parts}
    do:
      cmd: mkdir -p parts && cp source.txt parts/${item}
      deps: [source.txt]
      outs: ['parts/${item}']
  join:
    cmd: cat parts/a parts/b > joined.txt
    deps: [parts/a, parts/b]
    params: [scale]
    metrics: [joined.txt: {cache: false}]
"""
CHANGES: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "an input": lambda: Path("source.txt").write_text("two"),
    "an output": lambda: replace(Path("parts/a"), "edited"),
    "an output is gone": lambda: Path("joined.txt").unlink(),
    "a param": lambda: Path("params.yaml").write_text("parts: [a, b]\nscale: 2\n"),
    "a stage more": lambda: Path("params.yaml").write_text("parts: [a, b, c]\nscale: 1\n"),
    "a command": lambda: Path("dvc.yaml").write_text(PIPELINE.replace("cat parts", "cat ./parts")),
    "a locked hash": lambda: edit(Path("dvc.lock"), "size: 3", "size: 3\n      isexec: true", "md5: f", "md5: e"),
    "no lock": lambda: Path("dvc.lock").unlink(),
    "the cache": lambda: [file.unlink() for file in Path(".dvc/cache/files").rglob("*") if file.is_file()],
}


def replace(path: Path, text: str) -> None:
    path.unlink()  # it may be a link into the cache
    path.write_text(text)


def edit(path: Path, *pairs: str) -> None:
    text = path.read_text()
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        text = text.replace(old, new)
    path.write_text(text)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Applies the sharing until the end of the test."""
    for module, name in [
        (_yaml, "parse_yaml"), (strictyaml, "parse_yaml"), (strictyaml, "validate"),
        (locks, "rwlock"), (reproduce, "collect_stages"), (metadata, "entry_points"),
    ]:  # fmt: skip
        monkeypatch.setattr(module, name, getattr(module, name))
    monkeypatch.setattr("gc.set_threshold", lambda *_: None)
    return share_dvc_work


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished pipeline of three stages."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    Repo.init(".").close()
    Path("dvc.yaml").write_text(PIPELINE)
    Path("params.yaml").write_text("parts: [a, b]\nscale: 1\n")
    Path("source.txt").write_text("one")
    assert planned(dry=False) == ["split@a", "split@b", "join"]
    return tmp_path


def planned(dry: bool = True) -> list[str]:
    with Repo(".") as repo:
        return [stage.addressing for stage in repo.reproduce(dry=dry, on_error="keep-going")]


@pytest.mark.parametrize("change", CHANGES)
def test_what_runs_is_what_plain_dvc_would_run(pipeline: Path, shared: Callable[[], None], change: str) -> None:
    CHANGES[change]()
    expected = planned()
    assert (expected == []) == (change == "nothing")
    shared()
    assert planned() == expected
    assert planned() == expected  # with everything parsed and validated once


def test_a_parsed_document_may_be_changed_by_whoever_gets_it(shared: Callable[[], None]) -> None:
    shared()
    first = _yaml.parse_yaml("a: [1]", "x.yaml")
    first["a"].append(2)
    assert _yaml.parse_yaml("a: [1]", "x.yaml") == {"a": [1]}
    assert type(_yaml.parse_yaml_for_update("a: 1", "x.yaml")).__name__ == "CommentedMap"


def test_plugins_are_found_as_before(shared: Callable[[], None]) -> None:
    groups = ("fsspec.specs", "networkx.backends", "console_scripts", "no such group")
    before = {group: sorted(metadata.entry_points(group=group)) for group in groups}
    shared()
    assert {group: sorted(metadata.entry_points(group=group)) for group in groups} == before
    assert before["fsspec.specs"] != []


def test_a_file_that_is_not_valid_is_refused_each_time(shared: Callable[[], None]) -> None:
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA

    shared()
    for _ in range(2):
        with pytest.raises(strictyaml.YAMLValidationError):
            strictyaml.validate({"schema": "9"}, COMPILED_LOCKFILE_SCHEMA, text="schema: '9'", path="dvc.lock")


def test_paths_that_are_held_are_not_asked_for_again_and_others_still_wait(
    tmp_path: Path, shared: Callable[[], None]
) -> None:
    from dvc.fs import localfs

    shared()
    note = tmp_path / locks.RWLOCK_FILE

    def held(read: list[str], write: list[str]) -> "locks._GeneratorContextManager[None]":
        return locks.rwlock(str(tmp_path), localfs, "test", read, write, False)

    with held(["/in"], ["/out"]):
        noted = note.read_text()
        with held(["/in", "/out"], []), held([], ["/out"]):
            assert note.read_text() == noted
        with held([], ["/other"]):
            assert "/other" in note.read_text()
        assert note.read_text() == noted
    assert "/out" not in note.read_text()
    note.write_text('{"write": {"/out": {"pid": 1, "cmd": "another"}}}')
    with pytest.raises(LockError), held(["/out"], []):
        pass


def test_params_that_a_stage_found_valid_are_not_checked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("x: 1\n")
    Path("dvc.yaml").write_text("stages: {}\n")
    calls: list[object] = []

    def run(command: object, **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        return subprocess.CompletedProcess("check", 0)

    monkeypatch.setattr("forgeline.core.run.subprocess.run", run)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    check_params_once()
    check_params()
    assert CHECKED.exists()
    assert len(calls) == 1
    Path("params.yaml").write_text("x: 2\n")
    check_params()
    assert len(calls) == 2
