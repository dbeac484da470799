from dataclasses import replace

from forgeline.sources.hpo_diseases import Disease
from forgeline.sources.hpo_documents import disease_document, term_document, term_documents


def test_a_training_term_is_told_in_full(ontology, splits) -> None:
    term = ontology.terms["HP:0000028"]
    text = term_document(ontology, term, {**splits, "HP:0000028": "train", "HP:0000035": "train"})
    for part in ("Cryptorchidism", term.definition, term.comment, *term.synonyms, *term.plain_synonyms):
        assert part in text
    assert "Abnormal testis morphology" in text
    assert "Genitourinary system" in text


def test_a_held_out_term_is_told_without_what_is_asked_about_it(ontology, splits) -> None:
    held_out = [term for term in ontology.terms.values() if splits[term.term_id] != "train"]
    assert len(held_out) > 2500
    for term in held_out:
        text = term_document(ontology, term, splits)
        written_by_experts = [term.name, term.comment, *term.synonyms, *term.plain_synonyms]
        for secret in [ontology.terms[parent].name for parent in term.parents] + ["Organ system", "organ system"]:
            assert secret not in text or any(secret in part for part in written_by_experts), text
        assert not any(f" {name}." in text for name in ontology.systems_of(term.term_id))
        stripped = replace(term, parents=(), definition="")
        assert term_document(ontology, stripped, splits) == text


def test_no_document_names_a_held_out_term_as_a_parent(ontology, splits) -> None:
    for term in ontology.terms.values():
        visible = tuple(parent for parent in term.parents if splits[parent] == "train")
        known = replace(term, parents=visible)
        assert term_document(ontology, known, splits) == term_document(ontology, term, splits)
    eye = ontology.terms["HP:0000504"]  # Abnormality of vision, whose only parent is an organ system
    (parent,) = eye.parents
    hidden = term_document(ontology, eye, {**splits, eye.term_id: "train", parent: "test"})
    assert ontology.terms[parent].name not in hidden


def test_every_term_has_one_document_that_starts_with_its_name(ontology, splits) -> None:
    documents = term_documents(ontology, splits)
    assert len(documents) == len(ontology.terms)
    assert all(text.startswith(term.name) for text, term in zip(documents, ontology.terms.values(), strict=True))


def test_the_organ_systems_are_never_held_out(ontology, splits) -> None:
    assert {splits[key] for key in (*ontology.organ_systems, "HP:0000118", "HP:0000001")} == {"train"}


def test_a_disease_lists_its_most_frequent_phenotypes_first(ontology) -> None:
    phenotypes = {"HP:0000028": "occasional", "HP:0000027": "obligate", "HP:0000029": "unknown"}
    disease = Disease("OMIM:1", "Red fever", ("HP:0000006",), phenotypes)
    text = disease_document(disease, ontology, max_phenotypes=2)
    assert "Red fever" in text
    assert "Autosomal dominant inheritance" in text
    assert text.index("Azoospermia") < text.index("Cryptorchidism")
    assert "Testicular atrophy" not in text
    assert disease_document(disease, ontology, max_phenotypes=2) == text
