"""Brings back the files of an experiment or commit: those of git, and data and models from DVC's cache.

Nothing is run, and nothing is touched before it is sure that all of it can be had and that nothing here would be lost.
"""

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgeline.core.errors import DataError
from forgeline.reporting.lineage import dvc_md5, locked_stages_now, locked_stages_of
from forgeline.tracking.git import Revision, find_revision

if TYPE_CHECKING:
    from dvc.repo import Repo

_LISTED = 5  # paths that a message names


@dataclass(frozen=True)
class Restored:
    """What came back: the revision, how many of its outputs DVC keeps, and how many files of git changed."""

    revision: Revision
    num_outputs: int
    num_files: int


def restore(name: str, pull: bool) -> Restored:
    """Makes the files here those of an experiment, commit, branch or tag; HEAD and the index stay.

    Args:
        name: What is meant.
        pull: Fetch from the remotes what is not in the cache.

    Raises:
        DataError: There is no such revision, it holds no result, something here is not committed, or outputs are
            not in the cache; the last says which, and which remote has them.
    """
    _require_committed()
    revision = find_revision(name)
    outputs = _outputs(revision)
    with _quiet_dvc() as repo:
        missing = _missing(repo, outputs)
        if missing and pull:
            _pull(repo, {path: outputs[path] for path in missing})
            missing = _missing(repo, outputs)
        if missing:
            raise DataError(_explain_missing(repo, name, missing))
        _require_kept(repo, {**_cached_outputs(locked_stages_now(), _tracked("HEAD")), **outputs})
    changed = _git("diff", "--name-only", revision.commit).split("\n")
    _git("restore", f"--source={revision.commit}", "--worktree", "--no-overlay", "--", ".")
    with _quiet_dvc() as repo:
        repo.checkout(force=True)
    return Restored(revision, len(outputs), len([path for path in changed if path]))


def _require_committed() -> None:
    changed = [line[3:] for line in _git("status", "--porcelain", "--untracked-files=no").splitlines()]
    if changed:
        raise DataError(
            f"{_some(changed)} changed since the last commit: commit that, or put it aside with `git stash`, first"
        )


def _outputs(revision: Revision) -> dict[str, str]:
    """The md5 by path of what DVC keeps of a revision."""
    tracked = _tracked(revision.commit)
    here = set(_git("ls-files", "--others", "--exclude-standard").splitlines())
    if clashing := sorted(here & tracked):
        raise DataError(f"{_some(clashing)} would be overwritten and git does not know it: move it away first")
    outputs = _cached_outputs(locked_stages_of(revision.commit) if "dvc.lock" in tracked else {}, tracked)
    if not outputs:
        raise DataError(f"'{revision.name}' holds no result: its dvc.lock is missing or empty")
    return outputs


def _cached_outputs(stages: Mapping[str, Mapping[str, Any]], tracked: set[str]) -> dict[str, str]:
    """Outputs that are not in git themselves, as the metrics files are."""
    found = {str(out["path"]): str(out.get("md5", "")) for entry in stages.values() for out in entry.get("outs", [])}
    return {path: digest for path, digest in found.items() if digest and path not in tracked}


def _missing(repo: "Repo", outputs: Mapping[str, str]) -> dict[str, list[str]]:
    """What the cache lacks of each output: hashes of files, or of the list of a folder's files."""
    lacking = {path: list(_lacking(repo, digest)) for path, digest in outputs.items()}
    return {path: hashes for path, hashes in lacking.items() if hashes}


def _lacking(repo: "Repo", digest: str) -> Iterator[str]:
    stored = Path(repo.cache.local.oid_to_path(digest))
    if not stored.is_file():
        yield digest
    elif digest.endswith(".dir"):
        for entry in json.loads(stored.read_text(encoding="utf-8")):
            yield from _lacking(repo, entry["md5"])


def _require_kept(repo: "Repo", outputs: Iterable[str]) -> None:
    """Refuses where an output lies here in a state that the cache does not hold."""
    present = {path: dvc_md5(Path(path)) for path in outputs}
    lost = [path for path, digest in present.items() if digest and list(_lacking(repo, digest))]
    if lost:
        raise DataError(
            f"{_some(lost)} would be overwritten and DVC's cache does not hold it as it is here: "
            "`dvc commit` keeps it, or delete it"
        )


def _having(repo: "Repo", missing: Mapping[str, list[str]]) -> str | None:
    """The first remote that has all that the cache lacks."""
    from dvc.exceptions import DvcException

    hashes = {digest for lacking in missing.values() for digest in lacking}
    for remote in repo.config["remote"]:
        try:
            store = repo.cloud.get_remote_odb(remote)
            if all(store.exists(digest) for digest in hashes):
                return str(remote)
        except (DvcException, OSError):
            continue  # it cannot be reached, so nothing can be pulled from it now
    return None


def _pull(repo: "Repo", outputs: Mapping[str, str]) -> None:
    from dvc_data.hashfile.hash_info import HashInfo

    remote = _having(repo, {path: [digest] for path, digest in outputs.items()})
    if remote is not None:
        repo.cloud.pull({HashInfo("md5", digest) for digest in outputs.values()}, remote=remote)


def _explain_missing(repo: "Repo", name: str, missing: Mapping[str, list[str]]) -> str:
    """Which outputs are not in the cache, and which remote has all that they lack."""
    remote = _having(repo, missing)
    remotes = list(repo.config["remote"])
    if remote is not None:
        advice = f"remote '{remote}' has it: `forgeline restore {name} --pull`"
    elif remotes:
        advice = f"no remote of {', '.join(remotes)} can be reached and has it: push it from where it was made"
    else:
        advice = "there is no remote (`dvc remote add`): push it from where it was made, or run the experiment again"
    return f"not in DVC's cache: {_some(list(missing))}; {advice}"


def _tracked(commit: str) -> set[str]:
    return set(_git("ls-tree", "-r", "--name-only", commit).splitlines())


@contextmanager
def _quiet_dvc() -> Iterator["Repo"]:
    os.environ["DVC_NO_ANALYTICS"] = "true"
    from dvc.repo import Repo

    with Repo(".") as repo:
        yield repo


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise DataError(f"git {arguments[0]} fails: {done.stderr.strip().splitlines()[0]}")
    return done.stdout


def _some(paths: list[str]) -> str:
    more = len(paths) - _LISTED
    return ", ".join(paths[:_LISTED]) + (f" and {more} more" if more > 0 else "")
