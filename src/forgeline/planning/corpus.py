"""How many documents and bytes the sources hold, from a look at the beginning of their files."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from forgeline.core.errors import DataError
from forgeline.planning.sample import SAMPLED, Size, sample_files
from forgeline.sources.fetch_params import FetchParams, HttpParams, HubParams
from forgeline.sources.formats.unpacked import COMPRESSIONS
from forgeline.sources.hpo import Ontology, load_ontology
from forgeline.sources.hpo_diseases import parse_annotations
from forgeline.sources.hpo_documents import disease_documents, term_document
from forgeline.sources.hpo_split import HpoParams, split_terms
from forgeline.sources.packaged import locate
from forgeline.sources.params import SourceParams, SourcesParams

CAPPED, ANNOUNCED, UNKNOWN, UNREADABLE = "at most", "by its size", "unknown until fetched", "cannot be read"

_SAMPLE_ANNOTATIONS = 20_000  # lines, of 280,000
_EVERY_TERM = 8
_FETCHED = Path("data", "fetch")
_TEXT_SHARE = 0.8  # of the bytes of a file that is not here yet, unpacked
_TYPICAL_UNPACKING = 3.0  # text grows about so much from .gz or .zst
_TYPICAL_DOCUMENT_BYTES = 2_000


@dataclass(frozen=True)
class SourceEstimate:
    """What a source will give `clean`.

    Attributes:
        name: Of the source.
        num_documents: Not blank, after its caps; None if nothing is known.
        num_bytes: UTF-8 bytes of their texts.
        basis: How that is known: a constant of this module or of `sample`.
        has_less_than_asked: Whether a cap lies above what there is.
        problem: Why it cannot be read as params.yaml says; empty when it can.
    """

    name: str
    num_documents: int | None
    num_bytes: int | None
    basis: str
    has_less_than_asked: bool = False
    problem: str = ""


def estimate_sources(
    ingest: SourcesParams, fetch: Mapping[str, FetchParams], hpo: HpoParams, online: bool
) -> list[SourceEstimate]:
    """One estimate for each source, in the order of params.yaml. Nothing is written and no remote file is read.

    Args:
        ingest: The sources.
        fetch: Remote data by name.
        hpo: The split of ontology terms, which decides what their documents leave out.
        online: Whether to ask servers for the sizes of files that are not here yet.
    """
    missing = {name: fetched for name, fetched in fetch.items() if not (_FETCHED / name).exists()}
    urls = {name: fetched.url for name, fetched in missing.items() if isinstance(fetched, HttpParams)}
    sizes = _ask(urls) if online and urls else {}
    packaged = _Packaged(hpo)
    estimates = []
    for name, source in ingest.sources.items():
        awaited = next((key for key in missing if Path(source.path).is_relative_to(_FETCHED / key)), None)
        try:
            if awaited is not None:
                size = _of_remote(missing[awaited], sizes.get(awaited), ingest.bytes_per_token)
            elif source.kind == "files":
                size = sample_files(source, ingest)
            else:
                size = packaged.size(source)
        except DataError as error:
            estimates.append(SourceEstimate(name, None, None, UNREADABLE, problem=str(error)))
            continue
        estimates.append(_capped(name, size, source, ingest.bytes_per_token))
    return estimates


def _ask(urls: Mapping[str, str]) -> dict[str, int]:
    from forgeline.planning.remote import remote_sizes  # a library that a plan without remote data need not load

    return remote_sizes(urls)


def _capped(name: str, size: Size | None, source: SourceParams, bytes_per_token: float) -> SourceEstimate:
    max_bytes = source.max_tokens * bytes_per_token if source.max_tokens is not None else None
    if size is None:
        if source.max_documents is None and max_bytes is None:
            return SourceEstimate(name, None, None, UNKNOWN)
        documents = source.max_documents or (max_bytes or 0) / _TYPICAL_DOCUMENT_BYTES
        size = Size(documents, max_bytes or documents * _TYPICAL_DOCUMENT_BYTES, CAPPED)
    share = 1.0
    if source.max_documents is not None and size.num_documents:
        share = min(share, source.max_documents / size.num_documents)
    if max_bytes is not None and size.num_bytes:
        share = min(share, max_bytes / size.num_bytes)
    has_caps = source.max_documents is not None or max_bytes is not None
    return SourceEstimate(
        name,
        round(size.num_documents * share),
        round(size.num_bytes * share),
        size.basis,
        has_less_than_asked=has_caps and share == 1.0 and size.basis != CAPPED,
    )


def _of_remote(fetched: FetchParams, content_length: int | None, bytes_per_token: float) -> Size | None:
    """Remote data that are not here yet: by the size of the file, or by the caps of what will be fetched."""
    if isinstance(fetched, HttpParams) and content_length is not None:
        packed = fetched.url.lower().endswith(tuple(COMPRESSIONS))
        num_bytes = content_length * _TEXT_SHARE * (_TYPICAL_UNPACKING if packed else 1.0)
        return Size(num_bytes / _TYPICAL_DOCUMENT_BYTES, num_bytes, ANNOUNCED)
    if isinstance(fetched, HubParams) and fetched.max_tokens is not None:
        num_bytes = fetched.max_tokens * bytes_per_token
        documents = num_bytes / _TYPICAL_DOCUMENT_BYTES
        return Size(min(documents, fetched.max_documents or documents), num_bytes, CAPPED)
    if isinstance(fetched, HubParams) and fetched.max_documents is not None:
        return Size(fetched.max_documents, fetched.max_documents * _TYPICAL_DOCUMENT_BYTES, CAPPED)
    return None


class _Packaged:
    """Sizes of the packaged kinds, from some of their documents; the ontology is parsed once for both."""

    def __init__(self, hpo: HpoParams) -> None:
        self._hpo = hpo
        self._ontologies: dict[str, Ontology] = {}

    def size(self, source: SourceParams) -> Size:
        if source.path not in self._ontologies:
            self._ontologies[source.path] = load_ontology(Path(source.path))
        ontology = self._ontologies[source.path]
        if source.kind == "hpo_terms":
            terms, splits = list(ontology.terms.values()), split_terms(ontology, self._hpo)
            sizes = [len(term_document(ontology, term, splits).encode()) for term in terms[::_EVERY_TERM]]
            return Size(len(terms), sum(sizes) / len(sizes) * len(terms), SAMPLED)
        with locate(Path(source.path), "annotations").open(encoding="utf-8") as lines:
            diseases = parse_annotations(islice(lines, _SAMPLE_ANNOTATIONS))[:-1]  # the last one may go on
            num_read = len({line.partition("\t")[0] for line in lines})
        texts = disease_documents(diseases, ontology, self._hpo.max_phenotypes)
        num_documents = len(texts) + num_read
        num_bytes = sum(len(text.encode()) for text in texts) / max(len(texts), 1) * num_documents
        return Size(num_documents, num_bytes, SAMPLED)
