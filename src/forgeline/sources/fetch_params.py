"""Section `fetch`: remote data by name, each pinned by its content. Nothing here may hold a secret.

Every value of a section is copied into dvc.lock, lineage files and the tracker. So a URL with credentials is refused,
and no message quotes more of one than scheme, host and path.
"""

import re
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import ConfigDict, Field, ModelWrapValidatorHandler, field_validator, model_validator

from forgeline.core.params import Section

NAME = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9_-]*"
)  # of a source or a fetch: it becomes part of paths and of DVC's addresses
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_SPLIT = re.compile(r"\w[\w.-]*", re.ASCII)
_FILE_NAME = re.compile(r"[^\x00-\x1f\x7f/\\.][^\x00-\x1f\x7f/\\]{0,199}")
_SECRET = re.compile(
    r"token(?!iz)|secret|passw|pwd|signature|credential|session|jwt|bearer|(api|access|auth|private)[-_]?key"
    r"|^(auth|authorization|key|sig)$",
    re.IGNORECASE,
)


class FetchParams(Section):
    """Section `fetch.<name>`: what is validated is a `HttpParams` or a `HubParams`, as its `kind` says."""

    kind: Literal["http", "hub"]

    @model_validator(mode="wrap")
    @classmethod
    def _by_kind(cls, values: Any, validate: ModelWrapValidatorHandler["FetchParams"]) -> "FetchParams":
        if cls is not FetchParams or not isinstance(values, dict):
            return validate(values)
        models: dict[Any, type[FetchParams]] = {"http": HttpParams, "hub": HubParams}
        if isinstance(values.get("kind"), str) and values["kind"] in models:
            return models[values["kind"]].model_validate(values)
        return validate({key: value for key, value in values.items() if key == "kind"})


class HttpParams(FetchParams):
    """One file behind a URL.

    Attributes:
        kind: `http`.
        url: `https://` or `http://`; the pin makes either safe. The last part of its path names the file.
        sha256: Hex SHA-256 of the file's bytes; other bytes are refused.
        max_megabytes: A larger file is refused, before or while it is read. 1 MB is 1,000,000 bytes.
    """

    kind: Literal["http"]
    url: str
    sha256: str
    max_megabytes: float = Field(gt=0, allow_inf_nan=False)

    @field_validator("url")
    @classmethod
    def _without_secrets(cls, url: str) -> str:
        check_url(url)
        return url

    @field_validator("sha256")
    @classmethod
    def _pinned(cls, sha256: str) -> str:
        if not _SHA256.fullmatch(sha256):
            raise ValueError(
                "not a SHA-256 (64 hex digits in lower case): take it from who publishes the file, or let "
                "`forgeline source add NAME URL --pin` download the file and compute it"
            )
        return sha256


class HubParams(FetchParams):
    """One split of a dataset of the Hugging Face hub, or of a local folder of the same form.

    Attributes:
        kind: `hub`.
        dataset: The id on the hub, `owner/name`, or with a revision of 64 digits the path of a folder.
        subset: The dataset's configuration; null if it has one, or a default one.
        split: `train` for instance.
        revision: On the hub the full commit, 40 hex digits. For a folder the 64 digits of the SHA-256 over its
            files' names and bytes, which `forgeline source add` computes.
        streaming: Read only as much as the caps need, instead of first downloading all files of the subset.
        max_documents: The first so many rows; null takes all.
        max_tokens: Rows until the text in all their columns makes up so many tokens of `ingest.bytes_per_token`
            bytes, the row that reaches it included; null takes all.
    """

    kind: Literal["hub"]
    dataset: str
    subset: str | None = Field(min_length=1)
    split: str
    revision: str
    streaming: bool
    max_documents: int | None = Field(ge=1)
    max_tokens: int | None = Field(ge=1)

    @property
    def is_folder(self) -> bool:
        """Whether `dataset` is a local folder, pinned by its content."""
        return len(self.revision) == 64

    @field_validator("split")
    @classmethod
    def _one_split(cls, split: str) -> str:
        if not _SPLIT.fullmatch(split):
            raise ValueError(
                f"'{split}' is not the name of one split: write `train`, for instance, and cap it with max_documents"
            )
        return split

    @field_validator("revision")
    @classmethod
    def _pinned(cls, revision: str) -> str:
        if not _COMMIT.fullmatch(revision) and not _SHA256.fullmatch(revision):
            raise ValueError(
                f"'{revision}' is not a full commit (40 hex digits), and branches and tags can move: take it from the "
                "dataset's page on the hub under Files, History, or let `forgeline source add` find the newest"
            )
        return revision

    @model_validator(mode="after")
    def _dataset_is_of_its_kind(self) -> "HubParams":
        if not self.is_folder and not _HUB_ID.fullmatch(self.dataset):
            raise ValueError(
                f"dataset '{self.dataset}' is no id of the hub (owner/name); a local folder needs as revision the 64 "
                "digits that `forgeline source add` computes"
            )
        return self


class TokenEstimate(Section):
    """What fetching reads of section `ingest`: how long a token is before there is a tokenizer."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    bytes_per_token: float = Field(gt=0)


def check_url(url: str) -> SplitResult:
    """The parts of a URL that can be fetched and written down.

    Raises:
        ValueError: It is no http(s) URL, names no file, or holds what looks like a secret. The text does not quote it.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises when it is no number
    except ValueError:
        raise ValueError("not a URL: write https://host/path/file.jsonl") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError("not a URL of a file: write https://host/path/file.jsonl")
    if "@" in parts.netloc:
        raise ValueError(
            "holds a user name or a password, which would be copied into dvc.lock: remove it and write it into "
            "~/.netrc, which is read for that host"
        )
    secrets = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if _SECRET.search(name)]
    if secrets or parts.fragment:
        where = f"the query parameter '{secrets[0]}'" if secrets else "the part after #"
        raise ValueError(
            f"{where} looks like a secret, which would be copied into dvc.lock: use a URL without it; a user name and "
            "a password in ~/.netrc are sent to that host"
        )
    file_name(url)
    return parts


def file_name(url: str) -> str:
    """The name of the file that a URL leads to: the last part of its path.

    Raises:
        ValueError: There is none, or it could lead out of the folder it is written to.
    """
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    if not _FILE_NAME.fullmatch(name):
        raise ValueError("its path does not end in the plain name of a file: write https://host/path/file.jsonl")
    return name


def display_url(url: str) -> str:
    """A URL for messages: without user name, password, query and fragment, any of which may be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{'?...' if parts.query else ''}"
