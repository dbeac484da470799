"""A source of any kind as a table of documents."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from forgeline.core.records import document_id, documents_table
from forgeline.core.run import Counts
from forgeline.sources.files import jsonl_documents, text_documents
from forgeline.sources.hpo import load_ontology
from forgeline.sources.hpo_diseases import load_diseases
from forgeline.sources.hpo_documents import disease_documents, term_documents
from forgeline.sources.hpo_split import HpoParams, split_terms
from forgeline.sources.params import SourceParams
from forgeline.text.funnel import DroppedRow, count_reasons, dropped_table


@dataclass(frozen=True)
class IngestResult:
    """Documents of a source in its order, what was dropped (reasons `empty`, `over_limit`), and the counts of both."""

    documents: pa.Table
    dropped: pa.Table
    counts: Counts


def ingest(source: str, file: Path, params: SourceParams, hpo: HpoParams) -> IngestResult:
    """Reads one source.

    Args:
        source: Its name, written into every document.
        file: The file of the source (for packaged data, the descriptor).
        params: What kind of file it is.
        hpo: Which ontology terms are held out; only the packaged kinds use it.

    Raises:
        DataError: The file cannot be read as that kind; file and line are named.
        FingerprintError: Packaged data are not the pinned ones.
    """
    texts = _texts(file, params, hpo)
    kept: list[str] = []
    rows: list[DroppedRow] = []
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            rows.append(DroppedRow(document_id(text), text, source, "empty", f"record {number}"))
        elif params.max_documents is not None and len(kept) == params.max_documents:
            rows.append(DroppedRow(document_id(text), text, source, "over_limit", f"record {number}"))
        else:
            kept.append(text)
    dropped = dropped_table(rows)
    return IngestResult(documents_table(kept, source), dropped, Counts(len(texts), len(kept), count_reasons(dropped)))


def _texts(file: Path, params: SourceParams, hpo: HpoParams) -> list[str]:
    match params.kind:
        case "hpo_terms":
            ontology = load_ontology(file)
            return term_documents(ontology, split_terms(ontology, hpo))
        case "hpo_diseases":
            return disease_documents(load_diseases(file), load_ontology(file), hpo.max_phenotypes)
        case "text":
            return text_documents(file)
        case "jsonl":
            return jsonl_documents(file, params.text_field or "")
