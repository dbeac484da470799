"""Sources as tests declare them: complete params with a few values of interest."""

from pathlib import Path
from typing import Any

from forgeline.sources.formats.limits import Reading
from forgeline.sources.params import SourceParams, SourcesParams


def source_params(**changed: Any) -> SourceParams:
    """A source of kind `files` whose text is in the field `text`, but for what is changed."""
    values: dict[str, Any] = {
        "kind": "files",
        "path": "corpus",
        "pattern": None,
        "text": "text",
        "documents": None,
        "marker": None,
        "encoding": "strict",
        "language": "en",
        "weight": 1.0,
        "max_documents": None,
        "max_tokens": None,
        "license": None,
        "citation": None,
    }
    if changed.get("documents") is not None:
        values["text"] = None
    return SourceParams(**{**values, **changed})


def sources_params(source: SourceParams, **changed: Any) -> SourcesParams:
    """Section `ingest` with one source, called `mine`."""
    values: dict[str, Any] = {
        "shard_megabytes": 16,
        "max_document_megabytes": 50,
        "max_source_gigabytes": 100,
        "bytes_per_token": 4.0,
        "sources": {"mine": source},
    }
    return SourcesParams(**{**values, **changed})


def reading(encoding: Any = "strict", max_document_bytes: int = 10**6, max_source_bytes: int = 10**9) -> Reading:
    """Limits that no small file reaches."""
    return Reading(encoding, max_document_bytes, max_source_bytes)


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Everything in a folder by relative name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
