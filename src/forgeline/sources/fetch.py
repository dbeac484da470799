"""Remote data of either kind as a folder of files, and the figures that name what was fetched."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgeline.core.records import Counts
from forgeline.core.storage import sha256_path
from forgeline.sources.fetch_cache import find_in_cache
from forgeline.sources.fetch_http import fetch_http
from forgeline.sources.fetch_params import FetchParams, HttpParams, HubParams, TokenEstimate


@dataclass(frozen=True)
class Fetched:
    """What arrived.

    Attributes:
        counts: Files for `http`, rows for `hub`; what a cap left on the other side is not counted.
        figures: `kind`, `revision` (the pin), `num_files`, `num_bytes`, and `files` with the SHA-256 of each.
    """

    counts: Counts
    figures: Mapping[str, Any]


def fetch(address: str, params: FetchParams, estimate: TokenEstimate, folder: Path, scratch: Path) -> Fetched:
    """Brings remote data into `folder`.

    Args:
        address: DVC's name of the stage, whose earlier outputs may hold the same file.
        params: What to fetch, an `HttpParams` or a `HubParams`.
        estimate: How long a token is, for a cap in tokens.
        folder: Made if it is not there.
        scratch: Survives a kill; an unfinished download waits there.

    Raises:
        DataError: As `fetch_http` and `fetch_hub`.
    """
    if isinstance(params, HttpParams):
        fetch_http(params, folder, scratch, find_in_cache(address, params.sha256))
        num_records, revision = 1, params.sha256
    elif isinstance(params, HubParams):
        from forgeline.sources.fetch_hub import fetch_hub  # a second of imports that a plain download need not pay

        num_records, revision = fetch_hub(params, folder, estimate.bytes_per_token), params.revision
    else:
        raise TypeError(f"no kind of remote data: {type(params).__name__}")
    files = sorted(folder.iterdir())
    figures = {
        "kind": params.kind,
        "revision": revision,
        "num_files": len(files),
        "num_bytes": sum(file.stat().st_size for file in files),
        "files": [{"name": file.name, "sha256": sha256_path(file)} for file in files],
    }
    return Fetched(Counts(num_records, num_records), figures)
