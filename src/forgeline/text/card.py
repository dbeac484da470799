"""The data card: what the corpus is, where it came from, what was done to it, and what it is not.

The questions are those of "Datasheets for Datasets" (Gebru et al. 2021, sections 3.1 to 3.5), the head is the metadata
that the Hugging Face hub reads. The answers come from params.yaml and the metrics of the data stages.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from forgeline.core.params import Section
from forgeline.core.storage import read_json
from forgeline.sources.fetch_params import FetchParams
from forgeline.sources.params import SourcesParams
from forgeline.text.card_sections import (
    Corpus,
    cleaning,
    contents,
    copies,
    fetch_name,
    files,
    funnel,
    language_codes,
    limits,
    personal_data,
    sources,
    test_questions,
)
from forgeline.text.split import SPLITS

_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")  # the hub's steps, from 10**3 on


class CardParams(Section):
    """Section `card`: what only people can say about the corpus.

    Attributes:
        title: Its name.
        description: A paragraph: what it holds, and what it is for.
        license: Of the whole, as the Hugging Face hub names licences: `cc-by-4.0`, `mit`, `other`, ...
        license_name: What it is called, for `other`; null for the rest.
        license_link: Where its text is, for `other`; null for the rest.
    """

    title: str = Field(min_length=1)
    description: str = Field(min_length=1)
    license: str = Field(pattern=r"^[a-z0-9.-]+$")
    license_name: str | None = Field(min_length=1)
    license_link: str | None = Field(min_length=1)

    @model_validator(mode="after")
    def _other_is_explained(self) -> "CardParams":
        given = self.license_name is not None and self.license_link is not None
        if self.license == "other" and not given:
            raise ValueError("license other needs license_name and license_link: add them")
        if self.license != "other" and (self.license_name is not None or self.license_link is not None):
            raise ValueError(
                f"license_name and license_link are for license other: set them to null for {self.license}"
            )
        return self


def fetched_by(ingest: SourcesParams) -> list[str]:
    """Names of the remote data that the sources read, in order."""
    names = [fetch_name(source.path) for source in ingest.sources.values()]
    return list(dict.fromkeys(name for name in names if name is not None))


@dataclass(frozen=True)
class CardInputs:
    """Where the figures are: the folders with a metrics file for each source, the metrics of `curate`, its manifest."""

    ingest: Path
    clean: Path
    curate: Path
    manifest: Path


def read_corpus(
    ingest: SourcesParams, fetch: Mapping[str, FetchParams], clean: Mapping[str, Any], inputs: CardInputs
) -> Corpus:
    """What the card speaks of.

    Args:
        ingest: The sources.
        fetch: Remote data by name.
        clean: Section `clean` of params.yaml.
        inputs: The figures.

    Raises:
        DataError: A file is missing or is not JSON.
    """
    names = list(ingest.sources)
    return Corpus(
        ingest,
        fetch,
        clean,
        ingested={name: read_json(inputs.ingest / f"{name}.json") for name in names},
        cleaned={name: read_json(inputs.clean / f"{name}.json") for name in names},
        curated=read_json(inputs.curate),
        manifest=read_json(inputs.manifest),
    )


def data_card(params: CardParams, corpus: Corpus) -> str:
    """The card as Markdown; the same for the same arguments."""
    sections = (contents, sources, funnel, cleaning, copies, test_questions, personal_data, files, limits)
    lines = [*_front_matter(params, corpus), f"# {params.title}\n", f"{' '.join(params.description.split())}\n"]
    for section in sections:
        lines += section(corpus)
    lines += _licence(params)
    return "\n".join(lines) + "\n"


def _front_matter(params: CardParams, corpus: Corpus) -> Iterator[str]:
    """Metadata of the hub: https://huggingface.co/docs/hub/datasets-cards. JSON strings are YAML strings."""
    num_documents = sum(corpus.curated[split]["num_documents"] for split in SPLITS)
    yield "---"
    yield f"pretty_name: {_quoted(params.title)}"
    yield from _listed("language", language_codes(corpus))
    yield f"license: {params.license}"
    if params.license_name is not None and params.license_link is not None:
        yield f"license_name: {_quoted(params.license_name)}"
        yield f"license_link: {_quoted(params.license_link)}"
    yield from _listed("size_categories", [_size_category(num_documents)])
    yield from _listed("task_categories", ["text-generation"])
    yield "configs:"
    yield "  - config_name: default"
    yield "    data_files:"
    for split in SPLITS:
        if corpus.curated[split]["num_documents"]:
            yield f"      - split: {split}"
            yield f"        path: {_quoted(f'curate/{split}.parquet/*.parquet')}"
    yield "---\n"


def _licence(params: CardParams) -> Iterator[str]:
    name = f"[{params.license_name}]({params.license_link})" if params.license_link else params.license
    yield "## Licence\n"
    yield f"As a whole: {name}. Each source keeps its own licence and asks to be cited as said above."


def _listed(name: str, values: Sequence[str]) -> Iterator[str]:
    yield f"{name}:"
    yield from (f"  - {_quoted(value)}" for value in values)


def _quoted(text: str) -> str:
    return json.dumps(" ".join(text.split()), ensure_ascii=False)


def _size_category(num_documents: int) -> str:
    step = next((step for step in range(len(_SIZES)) if num_documents < 10 ** (3 + step)), None)
    if step is None:
        return f"n>{_SIZES[-1]}"
    return f"{_SIZES[step - 1]}<n<{_SIZES[step]}" if step else f"n<{_SIZES[0]}"
