"""Section `ingest`: which sources there are. Their order decides which of two near copies survives."""

from typing import Literal

from pydantic import Field, model_validator

from forgeline.core.params import Section


class SourceParams(Section):
    """Section `ingest.sources.<name>`: one source.

    Attributes:
        kind: `hpo_terms` and `hpo_diseases` (packaged data), `jsonl` (one JSON object a line) or `text`.
        path: The file, or for packaged data its descriptor. Read by dvc.yaml, which hands it to the stage.
        text_field: For `jsonl`, the field that holds the text; null for the other kinds.
        max_documents: Take at most so many, the first ones; null takes all.
    """

    kind: Literal["hpo_terms", "hpo_diseases", "jsonl", "text"]
    path: str
    text_field: str | None
    max_documents: int | None = Field(ge=1)

    @model_validator(mode="after")
    def _text_field_belongs_to_jsonl(self) -> "SourceParams":
        if self.kind == "jsonl" and not self.text_field:
            raise ValueError("kind jsonl needs text_field: name the field that holds the text")
        if self.kind != "jsonl" and self.text_field is not None:
            raise ValueError(f"text_field is for kind jsonl only: set it to null for kind {self.kind}")
        return self


class SourcesParams(Section):
    """Section `ingest`: the sources by name, in order."""

    sources: dict[str, SourceParams]

    @model_validator(mode="after")
    def _at_least_one(self) -> "SourcesParams":
        if not self.sources:
            raise ValueError("sources is empty: name at least one source")
        return self
