"""New sources for params.yaml, from one line: a dataset of the hub, a URL, or a file or folder here.

The short form `dataset | subset | split | weight` stands for two complete entries, one that fetches and one that reads.
They are written out, so that params.yaml still says everything and DVC sees each value.
"""

import math
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forgeline.core.errors import ParamsError
from forgeline.core.params import PARAMS_FILE, load
from forgeline.core.run import StageRun
from forgeline.core.storage import sha256_path
from forgeline.sources.fetch_http import pin_url
from forgeline.sources.fetch_params import NAME, FetchParams, TokenEstimate, check_url, file_name
from forgeline.sources.insertion import insert_entry

_SHORT_FORM = 'write "dataset | subset | split | weight", for instance "squad | | train | 2.0"'
_PLAIN_TEXT = (".txt", ".md")
_PACKED = (".gz", ".zst")
_UNSAFE_IN_A_COMMAND = re.compile(r"[\s\"'`$&;|<>()*?\\{}]")


@dataclass(frozen=True)
class ShortForm:
    """What `dataset | subset | split | weight` says; an empty subset is None, an empty weight 1.0."""

    dataset: str
    subset: str | None
    split: str
    weight: float

    def __str__(self) -> str:
        return f"{self.dataset} | {self.subset or ''} | {self.split} | {self.weight!r}"


@dataclass(frozen=True)
class Reading:
    """What `ingest.sources.<name>` says beside its path.

    With neither `text` nor `documents`, a file's name decides. The weight None is 1. Caps of a dataset of the hub are
    set where it is fetched, so that no more is read than they need.
    """

    text: str | None
    documents: str | None
    marker: str | None
    pattern: str | None
    encoding: str
    language: str
    weight: float | None
    max_documents: int | None
    max_tokens: int | None
    license: str | None
    citation: str | None


@dataclass(frozen=True)
class Remote:
    """What pins and limits what is fetched.

    Attributes:
        revision: The commit of a dataset; None takes the newest.
        sha256: Of the file behind a URL.
        pin: Download the file behind a URL to find its SHA-256.
        max_megabytes: Largest file behind a URL.
    """

    revision: str | None
    sha256: str | None
    pin: bool
    max_megabytes: float


@dataclass(frozen=True)
class Declared:
    """The entries of one source: of `ingest.sources`, and of `fetch` unless it is local."""

    source: dict[str, Any]
    fetch: dict[str, Any] | None


def parse_short_form(text: str) -> ShortForm:
    """Reads `dataset | subset | split | weight`.

    Raises:
        ParamsError: There are not four parts, dataset or split is empty, or the weight is not a number above 0.
    """
    parts = [part.strip() for part in text.split("|")]
    if len(parts) != 4:
        raise ParamsError(f"a dataset in the short form has 4 parts between bars, not {len(parts)}: {_SHORT_FORM}")
    dataset, subset, split, weight = parts
    if not dataset or not split:
        raise ParamsError(f"the {'split' if dataset else 'dataset'} is empty: {_SHORT_FORM}")
    return ShortForm(dataset, subset or None, split, parse_weight(weight) if weight else 1.0)


def parse_weight(text: str) -> float:
    """A weight as a source has it.

    Raises:
        ParamsError: It is not a number above 0.
    """
    try:
        weight = float(text)
    except ValueError:
        raise ParamsError(f"weight '{text}' is not a number: {_SHORT_FORM}") from None
    if not math.isfinite(weight) or weight <= 0:
        raise ParamsError(
            f"weight {text} is not above 0: weights are relative to each other (2 is drawn from twice as often as 1); "
            "leave out a source that is not to be drawn from"
        )
    return weight


def declare(name: str, what: str, reading: Reading, remote: Remote, scratch: Path) -> Declared:
    """Makes the entries of one source; asks the hub or downloads where a pin has to be found.

    Args:
        name: Its name, which is the name of the fetch too.
        what: The short form, a URL, or a path.
        reading: How it is to be read.
        remote: What pins or limits what is fetched.
        scratch: With `remote.pin`, the downloaded file is left here for `keep_download`.

    Raises:
        ParamsError: Something in it is wrong or missing.
        DataError: A pin cannot be found: no network, no such dataset or file.
    """
    fetched = f"data/fetch/{name}"
    is_url, is_dataset = "://" in what, "|" in what and "://" not in what
    if not is_url and (remote.sha256 or remote.pin):
        raise ParamsError("--sha256 and --pin are for a URL: leave them out")
    if not is_dataset and remote.revision:
        raise ParamsError("--revision is for a dataset in the short form: leave it out")
    if is_url:
        fetch = _http_entry(what, remote, scratch)
        return Declared(_source_entry(fetched, file_name(what), reading), fetch)
    if is_dataset:
        short = parse_short_form(what)
        if reading.weight is not None:
            raise ParamsError("--weight is given, and the short form holds a weight: leave out --weight")
        fetch = _hub_entry(short, reading, remote)
        reading = replace(reading, weight=short.weight, max_documents=None, max_tokens=None)
        return Declared(_source_entry(fetched, "rows.parquet", reading), fetch)
    path = _local_path(what)
    return Declared(_source_entry(path, "" if Path(path).is_dir() else path, reading), None)


def keep_download(name: str, scratch: Path) -> None:
    """Hands what `declare` downloaded to the first run of the stage, so that it is not fetched twice."""
    params = load(f"fetch.{name}", FetchParams)
    run = StageRun(f"fetch@{name}", {f"fetch.{name}": params, "ingest": load("ingest", TokenEstimate)}, Path())
    for file in scratch.iterdir():
        shutil.move(file, run.scratch() / file.name)


def _hub_entry(short: ShortForm, reading: Reading, remote: Remote) -> dict[str, Any]:
    from forgeline.sources.fetch_hub import newest_commit  # a second of imports

    folder = Path(short.dataset).expanduser()
    revision = remote.revision or (sha256_path(folder) if folder.is_dir() else newest_commit(short.dataset))
    return {
        "kind": "hub",
        "dataset": short.dataset,
        "subset": short.subset,
        "split": short.split,
        "revision": revision,
        "streaming": reading.max_documents is not None or reading.max_tokens is not None,
        "max_documents": reading.max_documents,
        "max_tokens": reading.max_tokens,
    }


def _http_entry(url: str, remote: Remote, scratch: Path) -> dict[str, Any]:
    try:
        check_url(url)
    except ValueError as error:
        raise ParamsError(f"the URL: {error}") from None
    if (remote.sha256 is None) == (not remote.pin):
        raise ParamsError(
            "a URL needs one of --sha256, the SHA-256 of the file that its publisher gives, and --pin, which downloads "
            "the file now and pins what arrives"
        )
    sha256 = remote.sha256 or pin_url(url, remote.max_megabytes, scratch)
    return {"kind": "http", "url": url, "sha256": sha256, "max_megabytes": remote.max_megabytes}


def _local_path(text: str) -> str:
    """A path as params.yaml should hold it: relative where the file lies in the repository."""
    path = Path(text).expanduser()
    if not path.exists():
        raise ParamsError(
            f"there is no file or folder {text}: correct the path; for a dataset of the hub {_SHORT_FORM}"
        )
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    if _UNSAFE_IN_A_COMMAND.search(path.as_posix()):
        raise ParamsError(f"{path} holds a space or another character that shells interpret: rename it")
    return path.as_posix()


def _source_entry(path: str, file: str, reading: Reading) -> dict[str, Any]:
    """The entry of `ingest.sources`; the file's name (empty: a folder) decides what `reading` leaves open."""
    text, documents = reading.text, reading.documents
    if text is None and documents is None:
        if not file:
            raise ParamsError(
                f"{path} is a folder: say what a document is, with `--text FIELD` (or a template over fields) for "
                "JSON, CSV and Parquet, with `--documents file` for plain text"
            )
        suffixes = [suffix.lower() for suffix in Path(file).suffixes if suffix.lower() not in _PACKED]
        text, documents = (None, "file") if suffixes[-1:] and suffixes[-1] in _PLAIN_TEXT else ("text", None)
    return {
        "kind": "files",
        "path": path,
        "pattern": reading.pattern,
        "text": None if text is None else text.replace(r"\n", "\n").replace(r"\t", "\t"),  # as shells hand them over
        "documents": documents,
        "marker": reading.marker,
        "encoding": reading.encoding,
        "language": reading.language,
        "weight": 1.0 if reading.weight is None else reading.weight,
        "max_documents": reading.max_documents,
        "max_tokens": reading.max_tokens,
        "license": reading.license,
        "citation": reading.citation,
    }


def require_new_name(document: Any, name: str) -> None:
    """Refuses a name that cannot be one, or that params.yaml has already.

    Raises:
        ParamsError: As said.
    """
    if not NAME.fullmatch(name):
        raise ParamsError(f"'{name}' is no name for a source: use letters, digits, _ and -, beginning with a letter")
    for section, entries in (("ingest.sources", document["ingest"]["sources"]), ("fetch", document["fetch"])):
        if name in entries:
            raise ParamsError(f"{section}.{name} is there already: choose another name, or edit it in params.yaml")


def save(name: str, declared: Declared, check: Callable[[Path], object]) -> None:
    """Adds the entries of a source to params.yaml, if the whole of it is then valid.

    Args:
        name: Of the source; new.
        declared: Its entries.
        check: Validates a parameter file.

    Raises:
        ParamsError: It would not be valid; params.yaml is as it was.
    """
    candidate = PARAMS_FILE.with_name(f".{PARAMS_FILE.name}.partial")
    shutil.copyfile(PARAMS_FILE, candidate)
    try:
        if declared.fetch is not None:
            insert_entry(candidate, "fetch", name, declared.fetch)
        insert_entry(candidate, "ingest.sources", name, declared.source)
        check(candidate)
        candidate.replace(PARAMS_FILE)
    except ParamsError as error:
        raise ParamsError(str(error).replace(str(candidate), str(PARAMS_FILE))) from None
    finally:
        candidate.unlink(missing_ok=True)
