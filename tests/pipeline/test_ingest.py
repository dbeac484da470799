"""ingest: the packaged ontology becomes documents with the identity of their text."""

import hashlib
import re

import pytest

from forgeline.sources.hpo_diseases import load_diseases
from tests.clone import Clone
from tests.pipeline.outputs import ontology, params, rows

pytestmark = pytest.mark.slow

SOURCES = ("hpo_terms", "hpo_diseases")


@pytest.mark.parametrize("source", SOURCES)
def test_a_document_is_identified_by_its_text(smoke: Clone, source: str) -> None:
    for row in rows(smoke, f"data/ingest/{source}/documents.parquet"):
        assert row["doc_id"] == hashlib.sha256(row["text"].encode()).hexdigest()[:32]
        assert row["source"] == source


@pytest.mark.parametrize("source", SOURCES)
def test_the_limit_keeps_the_first_documents(smoke: Clone, source: str) -> None:
    limit = params(smoke)["ingest"]["sources"][source]["max_documents"]
    assert len(rows(smoke, f"data/ingest/{source}/documents.parquet")) == limit
    dropped = rows(smoke, f"data/ingest/{source}/dropped.parquet")
    assert {row["reason"] for row in dropped} == {"over_limit"}


def test_terms_stand_in_the_order_of_the_ontology(smoke: Clone) -> None:
    terms, _ = ontology(smoke)
    documents = rows(smoke, "data/ingest/hpo_terms/documents.parquet")
    left_out = rows(smoke, "data/ingest/hpo_terms/dropped.parquet")
    assert len(terms.terms) == len(documents) + len(left_out)
    for term, row in zip(terms.terms.values(), documents, strict=False):
        assert row["text"].startswith(term.name)


def test_a_diseases_document_lists_its_phenotypes_up_to_the_limit(smoke: Clone) -> None:
    terms, _ = ontology(smoke)
    most = params(smoke)["hpo"]["max_phenotypes"]
    diseases = load_diseases(smoke.root / "src" / "forgeline" / "sources" / "hpo.json")
    documents = rows(smoke, "data/ingest/hpo_diseases/documents.parquet")
    for disease, row in zip(diseases, documents, strict=False):
        _, _, body = row["text"].partition("\n\n")
        assert disease.name in row["text"]
        names = {terms.terms[key].name for key in disease.phenotypes}
        listed = 0
        for name in sorted(names, key=len, reverse=True):  # long ones first: some names contain others
            found = re.search(rf"(?<=[ ]){re.escape(name)}(?=[,.]| and )", body)
            if found:
                listed += 1
                body = body[: found.start()] + body[found.end() :]
        assert listed == min(most, len(disease.phenotypes)), row["text"]


def test_figures_measure_the_documents(smoke: Clone) -> None:
    for source in SOURCES:
        texts = [row["text"] for row in rows(smoke, f"data/ingest/{source}/documents.parquet")]
        assert smoke.metrics(f"ingest/{source}")["documents"] == {
            "num_documents": len(texts),
            "num_characters": sum(map(len, texts)),
            "num_bytes": sum(len(text.encode()) for text in texts),
        }
