"""The revisions of the repository that hold a pipeline result, read with plain git: `dvc exp show` takes seconds."""

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from forgeline.core.errors import DataError

LOCK_FILE = "dvc.lock"
_EXPERIMENT_REF = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(?P<name>.+)")


@dataclass(frozen=True)
class Revision:
    """One state of dvc.lock.

    Attributes:
        name: What a person calls it: experiment name, short commit with its subject, or `workspace`.
        commit: Full commit id; empty for the workspace.
        kind: `commit`, `experiment` or `workspace`.
        timestamp: When it was made, seconds since 1970.
    """

    name: str
    commit: str
    kind: str
    timestamp: int

    def read(self, path: str) -> str | None:
        """The text of a tracked file in this revision, or None when it has no such file."""
        if self.kind == "workspace":
            file = Path(path)
            return file.read_text(encoding="utf-8") if file.is_file() else None
        return _git("show", f"{self.commit}:{path}")


def workspace() -> Revision:
    """The files as they lie here now."""
    return Revision("workspace", "", "workspace", int(time.time()))


def committed_revisions() -> list[Revision]:
    """Commits of any branch that changed dvc.lock, and DVC experiments, oldest first; empty outside git."""
    log = _git("log", "--branches", "--tags", "--remotes", "HEAD", "--format=%H %ct %s", "--", LOCK_FILE) or ""
    commits = [line.split(" ", 2) for line in log.splitlines()]
    revisions = [Revision(f"{sha[:7]} {subject}", sha, "commit", int(when)) for sha, when, subject in commits]
    refs = _git("for-each-ref", "refs/exps", "--format=%(objectname) %(committerdate:unix) %(refname)") or ""
    for line in refs.splitlines():
        sha, when, ref = line.split(" ", 2)
        if match := _EXPERIMENT_REF.fullmatch(ref):
            revisions.append(Revision(match["name"], sha, "experiment", int(when)))
    return sorted(revisions, key=lambda revision: revision.timestamp)


def find_revision(name: str) -> Revision:
    """The experiment, commit, branch or tag that is meant; of experiments with the same name the newest.

    Raises:
        DataError: There is none; names the experiments there are.
    """
    experiments = [revision for revision in committed_revisions() if revision.kind == "experiment"]
    named = [revision for revision in experiments if revision.name == name]
    if named:
        return named[-1]
    commit = (_git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}") or "").strip()
    if not commit:
        there = ", ".join(dict.fromkeys(revision.name for revision in reversed(experiments))) or "none yet"
        raise DataError(f"'{name}' is neither an experiment nor a revision of git; experiments: {there}")
    when = (_git("show", "--no-patch", "--format=%ct", commit) or "0").strip()
    return Revision(name, commit, "commit", int(when))


def head_commit() -> str:
    """The commit that is checked out; empty when there is none yet."""
    return (_git("rev-parse", "--verify", "--quiet", "HEAD") or "").strip()


def _git(*arguments: str) -> str | None:
    """What git prints, or None when it fails (no repository, no commit, no such file)."""
    done = subprocess.run(["git", *arguments], capture_output=True)
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else None
