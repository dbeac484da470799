"""From a registered version back to the dvc.lock that its model is an output of."""

import re
import warnings
from dataclasses import dataclass

from forgeline.core.errors import DataError
from forgeline.tracking.git import LOCK_FILE, committed_revisions, workspace
from forgeline.tracking.registry import MODEL_HASH_TAG, PATH_TAG
from forgeline.tracking.store import MIRROR_EXPERIMENT, explain_store_errors, open_store

REGISTERED = "models:/"
_ADDRESS = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")


@dataclass(frozen=True)
class RegisteredVersion:
    """Where a registered version comes from.

    Attributes:
        name: The registered model.
        version: Its number.
        path: The model folder.
        commit: A commit whose dvc.lock has the folder with this content; empty when the file here has.
    """

    name: str
    version: int
    path: str
    commit: str


def registered_version(address: str) -> RegisteredVersion:
    """Finds `models:/<name>/<version>` or `models:/<name>@<alias>` and the dvc.lock that knows it.

    Raises:
        DataError: There is no such version, or no revision here knows its content.
        ForgelineError: The store fails.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise DataError(f"'{address}' is neither models:/<name>/<version> nor models:/<name>@<alias>")
    name, number, alias = match["name"], match["version"], match["alias"]
    with explain_store_errors(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client, _ = open_store(MIRROR_EXPERIMENT)
        found = {str(version.version): version for version in client.search_model_versions(f"name = '{name}'")}
        if not found:
            known = ", ".join(sorted(model.name for model in client.search_registered_models()))
            raise DataError(
                f"there is no registered model '{name}': {f'there are {known}' if known else 'there is none'}"
            )
        aliases = client.get_registered_model(name).aliases
    wanted = str(aliases.get(alias, "")) if alias else str(number)
    if wanted not in found:
        there = f"aliases {', '.join(sorted(aliases))}" if alias else f"versions {', '.join(sorted(found, key=int))}"
        raise DataError(f"{address} does not exist: there are {there}")
    tags = found[wanted].tags
    path, digest = tags.get(PATH_TAG, ""), tags.get(MODEL_HASH_TAG)
    if digest is None:
        raise DataError(
            f"{address} does not say its hash in dvc.lock: run `forgeline repro` where {path} is that model"
        )
    return RegisteredVersion(name, int(wanted), path, _commit_with(path, digest))


def _commit_with(path: str, digest: str) -> str:
    """The newest state of dvc.lock with this output: the workspace before any commit or experiment."""
    entry = re.compile(rf"- path: {re.escape(path)}\n(?:[ ]+hash: md5\n)?[ ]+md5: {re.escape(digest)}\n")
    for revision in [workspace(), *reversed(committed_revisions())]:
        if entry.search(revision.read(LOCK_FILE) or ""):
            return revision.commit
    raise DataError(
        f"no commit or experiment here has {path} with md5 {digest}: it was not committed, or `git fetch` brings it"
    )
