"""What an earlier run of a fetch left in DVC's cache.

DVC runs a stage again when its code or its parameters change, and removes its outputs first. Bytes that are pinned by
hash stay right whatever the code; so an update of this software, or another URL for the same file, needs no network.
"""

import json
from pathlib import Path

from dvc.repo import Repo

from forgeline.core.params import plain, read_yaml
from forgeline.core.storage import sha256_path

_LOCK = Path("dvc.lock")


def find_in_cache(address: str, sha256: str) -> Path | None:
    """A file with that content among the cached outputs of the last successful run of a stage, or None."""
    if not _LOCK.exists():
        return None
    entry = plain(read_yaml(_LOCK)).get("stages", {}).get(address, {})
    folders = [out["md5"] for out in entry.get("outs", []) if out.get("md5", "").endswith(".dir")]
    with Repo() as repo:
        cache = repo.cache.local
        for folder in (Path(cache.oid_to_path(oid)) for oid in folders):
            files = json.loads(folder.read_bytes()) if folder.exists() else []
            for file in (Path(cache.oid_to_path(file["md5"])) for file in files):
                if file.exists() and sha256_path(file) == sha256:
                    return file
    return None
