import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from forgeline.core.errors import DataError
from forgeline.restore import restore

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # DVC reads a trie in an old way

PIPELINE = """\
stages:
  train:
    cmd: mkdir -p models/m && cp params.yaml models/m/weights && cp params.yaml data.bin && cp params.yaml score.json
    params: [scale]
    outs: [models/m, data.bin]
    metrics: [score.json: {cache: false}]
"""


def git(*arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def run(scale: int, experiment: str | None = None) -> None:
    """Runs the pipeline and commits it; as an experiment, HEAD goes back afterwards."""
    Path("params.yaml").write_text(f"scale: {scale}\n")
    with Repo(".") as repo:
        repo.reproduce()
    git("add", "--all")
    git("commit", "-qm", f"scale {scale}")
    if experiment:
        git("update-ref", f"refs/exps/12/{'3' * 38}/{experiment}", "HEAD")
        git("reset", "-q", "--hard", "HEAD~1")
        with Repo(".") as repo:
            repo.checkout(force=True)


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline run with scale 1, and as experiment `tall-tree` with scale 2, which the workspace does not show."""
    root = tmp_path / "repository"
    root.mkdir()
    monkeypatch.chdir(root)
    git("init", "-q")
    Repo.init(".").close()
    Path("dvc.yaml").write_text(PIPELINE)
    run(1)
    run(2, "tall-tree")
    assert contents() == ["scale: 1\n"] * 4
    return root


def contents() -> list[str]:
    return [Path(name).read_text() for name in ("params.yaml", "models/m/weights", "data.bin", "score.json")]


def planned() -> list[str]:
    with Repo(".") as repo:
        return [stage.addressing for stage in repo.reproduce(dry=True)]


def test_all_files_come_back_and_no_stage_has_to_run(pipeline: Path) -> None:
    head = git("rev-parse", "HEAD")
    restored = restore("tall-tree", pull=False)
    assert contents() == ["scale: 2\n"] * 4
    assert planned() == []
    assert (restored.num_outputs, restored.num_files) == (2, 3)  # params.yaml, dvc.lock, score.json
    assert git("rev-parse", "HEAD") == head
    git("restore", ".")
    restore("HEAD", pull=False)
    assert contents() == ["scale: 1\n"] * 4
    assert planned() == []


def test_uncommitted_changes_are_not_overwritten(pipeline: Path) -> None:
    Path("params.yaml").write_text("scale: 5\n")
    with pytest.raises(DataError, match=r"params\.yaml changed since the last commit"):
        restore("tall-tree", pull=False)
    git("restore", ".")
    Path("data.bin").unlink()
    Path("data.bin").write_text("by hand")
    with pytest.raises(DataError, match=r"data\.bin would be overwritten and DVC's cache does not hold it"):
        restore("tall-tree", pull=False)
    assert Path("data.bin").read_text() == "by hand"
    assert Path("params.yaml").read_text() == "scale: 1\n"


@pytest.fixture
def remote(pipeline: Path, tmp_path: Path) -> Path:
    """A remote that has everything, and a cache without what the experiment made."""
    with Repo(".") as repo:
        with repo.config.edit() as config:
            config["remote"] = {"empty": {"url": str(tmp_path / "empty")}, "shared": {"url": str(tmp_path / "shared")}}
            config["core"]["remote"] = "shared"
        git("commit", "-qam", "remote")
    shutil.copytree(".dvc/cache/files", tmp_path / "shared" / "files")
    for file in Path(".dvc/cache/files").rglob("*"):
        if file.is_file():
            file.unlink()
    with Repo(".") as repo:
        repo.commit(force=True)  # what lies here
    return tmp_path / "shared"


def test_what_the_cache_lacks_is_named_with_the_remote_that_has_it(remote: Path) -> None:
    missing = r"not in DVC's cache: data\.bin, models/m; remote 'shared' has it: `forgeline restore tall-tree --pull`"
    with pytest.raises(DataError, match=missing):
        restore("tall-tree", pull=False)
    assert contents() == ["scale: 1\n"] * 4
    restore("tall-tree", pull=True)
    assert contents() == ["scale: 2\n"] * 4


def test_what_no_remote_has_is_said(remote: Path) -> None:
    shutil.rmtree(remote)
    with pytest.raises(DataError, match="no remote of empty, shared can be reached and has it"):
        restore("tall-tree", pull=False)


def test_a_revision_that_is_none_is_refused_with_those_there_are(pipeline: Path) -> None:
    with pytest.raises(DataError, match=r"'small-tree' is neither an experiment nor a revision of git; .* tall-tree"):
        restore("small-tree", pull=False)
