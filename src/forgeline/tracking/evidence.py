"""The samples that scores of any revision rest on, found again by DVC's hash."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forgeline.core.storage import read_jsonl


def samples_path(model: str) -> str:
    """Where the evaluation of a model keeps its samples."""
    return f"data/evaluate/{model}/samples.jsonl"


def find_samples(model: str, md5: str) -> list[dict[str, Any]] | None:
    """The samples of a model's evaluation with this hash, from here or DVC's cache; None when neither has them."""
    for file in _places(samples_path(model), md5):
        if file.is_file() and hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() == md5:
            return read_jsonl(file)
    return None


def _places(path: str, md5: str) -> Iterator[Path]:
    yield Path(path)
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        with Repo(".") as repo:
            yield Path(repo.cache.local.oid_to_path(md5))
    except NotDvcRepoError:
        return
