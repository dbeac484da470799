"""Section `ingest`: which sources there are. Their order decides which of two near copies survives."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from forgeline.core.params import Section
from forgeline.sources.formats.limits import Encoding
from forgeline.sources.template import field_names

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(ge=1)]
Text = Annotated[str, StringConstraints(min_length=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]

_SHELL_CHARACTERS = re.compile(r"[\s\"'`$&;|<>()*?\\{}]")  # the path stands in a command of dvc.yaml

Documents = Literal["file", "blank_lines", "lines", "headings", "separators"]


class SourceParams(Section):
    """Section `ingest.sources.<name>`: one source.

    Attributes:
        kind: `hpo_terms` and `hpo_diseases` (packaged data) or `files`.
        path: A file or a folder, or for packaged data its descriptor. dvc.yaml hands it to the stage.
        pattern: For folders, a glob that chooses among the files; null takes all.
        text: For formats with fields, the field that holds the text, or a template over fields: see `template`.
        documents: For plain text, what a document is: the whole `file`, what `blank_lines` part, each of the `lines`,
            what begins with a line that `marker` matches (`headings`), or what lies between such lines (`separators`).
        marker: A regular expression, searched for in each line.
        encoding: What happens to bytes that are not UTF-8, to NUL characters and to halves of surrogate pairs: an error
            (`strict`), or replaced by U+FFFD (NUL: removed) and counted (`repair`).
        language: ISO 639 code of the language that all documents are in, or `auto` where `clean` is to find out.
        weight: How often the training mixture draws from it, relative to the other sources.
        max_documents: Take the first so many; null takes all.
        max_tokens: Take the first documents that hold at most so many tokens, by `ingest.bytes_per_token`.
        license: For the data card; null where it is not known.
        citation: For the data card; null where there is none.
    """

    kind: Literal["hpo_terms", "hpo_diseases", "files"]
    path: Text
    pattern: Text | None
    text: Text | None
    documents: Documents | None
    marker: Text | None
    encoding: Encoding
    language: Annotated[str, StringConstraints(pattern=r"^([a-z]{2,3}|auto)$")]
    weight: Positive
    max_documents: PositiveInt | None
    max_tokens: PositiveInt | None
    license: Text | None
    citation: Text | None

    @model_validator(mode="after")
    def _fields_belong_to_the_kind(self) -> "SourceParams":
        given = [name for name in ("pattern", "text", "documents", "marker") if getattr(self, name) is not None]
        if self.kind != "files" and given:
            raise ValueError(f"{given[0]} is for kind files: set it to null for kind {self.kind}")
        if self.kind == "files" and (self.text is None) == (self.documents is None):
            raise ValueError(
                "kind files needs one of text (the field that holds it, for JSON, CSV and Parquet) and documents (what"
                " a document is, for plain text): set the other to null"
            )
        if (self.marker is not None) != (self.documents in ("headings", "separators")):
            raise ValueError("documents: headings and separators need marker, the others null: change one of them")
        return self

    @model_validator(mode="after")
    def _expressions_can_be_read(self) -> "SourceParams":
        if _SHELL_CHARACTERS.search(self.path):
            raise ValueError(f"path '{self.path}' holds a space or another character that shells interpret: rename it")
        if self.marker is not None:
            try:
                re.compile(self.marker)
            except re.error as error:
                raise ValueError(f"marker is no regular expression ({error}): correct it") from None
        if self.pattern is not None:
            _check_pattern(self.pattern)
        if self.text is not None:
            field_names(self.text)
        return self


class SourcesParams(Section):
    """Section `ingest`: the sources by name, in order, and what holds for all of them.

    Attributes:
        shard_megabytes: Text in one Parquet shard, the unit of parallel work.
        max_document_megabytes: A line, cell, file or document that is longer is an error.
        max_source_gigabytes: Of unpacked input; guards against archives that unpack without end.
        bytes_per_token: Turns `max_tokens` into bytes, before there is a tokenizer.
        sources: By name.
    """

    shard_megabytes: Positive
    max_document_megabytes: Positive
    max_source_gigabytes: Positive
    bytes_per_token: Positive
    sources: dict[Name, SourceParams]

    @model_validator(mode="after")
    def _at_least_one(self) -> "SourcesParams":
        if not self.sources:
            raise ValueError("sources is empty: name at least one source")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each source."""
        return {name: source.weight for name, source in self.sources.items()}

    @property
    def shard_bytes(self) -> int:
        """`shard_megabytes` in bytes, at least 1."""
        return max(1, int(self.shard_megabytes * 1e6))

    @property
    def max_document_bytes(self) -> int:
        """`max_document_megabytes` in bytes."""
        return int(self.max_document_megabytes * 1e6)

    @property
    def max_source_bytes(self) -> int:
        """`max_source_gigabytes` in bytes."""
        return int(self.max_source_gigabytes * 1e9)


def _check_pattern(pattern: str) -> None:
    path = PurePosixPath(pattern)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"pattern '{pattern}' leaves the folder: write it relative to path, '**/*.jsonl' for instance")
    if any("**" in part and part != "**" for part in path.parts):
        raise ValueError(f"pattern '{pattern}': ** must stand alone between slashes, as in '**/*.jsonl'")
