"""Diseases and their phenotypes, parsed from `phenotype.hpoa`, the annotation file of the Human Phenotype Ontology.

Columns (tab-separated): database_id, disease_name, qualifier, hpo_id, reference, evidence, onset, frequency, sex,
modifier, aspect, biocuration. See https://obophenotype.github.io/human-phenotype-ontology/annotations/phenotype_hpoa
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path

from forgeline.sources.packaged import locate

# Frequency classes of the ontology, by the least share of patients that belongs to each.
FREQUENCIES = {
    "obligate": Fraction(1),
    "very frequent": Fraction(80, 100),
    "frequent": Fraction(30, 100),
    "occasional": Fraction(5, 100),
    "very rare": Fraction(1, 10**9),
    "excluded": Fraction(0),
}
UNKNOWN = "unknown"
_CLASS_TERMS = {f"HP:004028{digit}": name for digit, name in enumerate(FREQUENCIES)}
_COUNT = re.compile(r"(\d+)/(\d+)")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)%")


@dataclass(frozen=True)
class Disease:
    """A disease of OMIM, ORPHANET or DECIPHER.

    Attributes:
        disease_id: Database and number, `OMIM:619340` for instance.
        name: As annotated.
        inheritance: Term ids of its modes of inheritance, sorted.
        phenotypes: Term id to a frequency class of `FREQUENCIES` or `unknown`, in file order; excluded ones left out.
    """

    disease_id: str
    name: str
    inheritance: tuple[str, ...]
    phenotypes: dict[str, str]


@dataclass
class _Annotations:
    name: str
    inheritance: set[str] = field(default_factory=set)
    phenotypes: dict[str, list[str]] = field(default_factory=dict)


def load_diseases(descriptor: Path) -> list[Disease]:
    """The diseases of the annotations that a descriptor pins; raises what `packaged.locate` raises."""
    with locate(descriptor, "annotations").open(encoding="utf-8") as file:
        return parse_annotations(file)


def parse_annotations(lines: Iterable[str]) -> list[Disease]:
    """Diseases with at least one phenotype, in file order. Negated (`NOT`) annotations are left out."""
    found: dict[str, _Annotations] = {}
    for line in lines:
        if line.startswith(("#", "database_id")):
            continue
        disease_id, name, qualifier, term, _, _, _, frequency, _, _, aspect, _ = line.rstrip("\n").split("\t")
        disease = found.setdefault(disease_id, _Annotations(name))
        if qualifier == "NOT":
            continue
        if aspect == "P":
            disease.phenotypes.setdefault(term, []).append(frequency)
        elif aspect == "I":
            disease.inheritance.add(term)
    diseases = (_disease(disease_id, annotations) for disease_id, annotations in found.items())
    return [disease for disease in diseases if disease.phenotypes]


def _disease(disease_id: str, annotations: _Annotations) -> Disease:
    classes = {term: frequency_class(tuple(values)) for term, values in annotations.phenotypes.items()}
    present = {term: name for term, name in classes.items() if name != "excluded"}
    return Disease(disease_id, annotations.name, tuple(sorted(annotations.inheritance)), present)


@cache
def frequency_class(values: tuple[str, ...]) -> str:
    """One class for what several references say of one phenotype.

    Counts of patients (`3/7`) are added up; without any, the highest percentage or class counts; without those it is
    `unknown`.
    """
    affected = patients = 0
    stated: list[Fraction] = []
    for value in values:
        if count := _COUNT.fullmatch(value):
            affected += int(count[1])
            patients += int(count[2])
        elif percent := _PERCENT.fullmatch(value):
            stated.append(Fraction(percent[1]) / 100)
        elif value in _CLASS_TERMS:
            stated.append(FREQUENCIES[_CLASS_TERMS[value]])
    if patients:
        stated = [Fraction(affected, patients)]
    if not stated:
        return UNKNOWN
    return next(name for name, least in FREQUENCIES.items() if max(stated) >= least)
