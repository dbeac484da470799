"""The Human Phenotype Ontology as plain records, parsed from its OBO file.

Format: OBO 1.4 flat file, of which only the tags below are read. A term may have several parents, so the ontology is a
directed acyclic graph. The organ systems are the 23 children of "Phenotypic abnormality"; a term lies in every system
that is above it, and questions about "the" organ system are asked only of terms that have exactly one.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from forgeline.sources.packaged import locate

PHENOTYPIC_ABNORMALITY = "HP:0000118"

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"(.*)')
_ESCAPE = re.compile(r"\\(.)")
_SYSTEM_WORDS = re.compile(r"^(Abnormality of the |Abnormality of |Abnormal )| abnormality$")


@dataclass(frozen=True)
class Term:
    """One live (not obsolete) term.

    Attributes:
        term_id: `HP:` and seven digits.
        name: As written in the ontology.
        definition: One or more sentences, empty when there is none.
        comment: Curators' remarks, empty when there are none.
        synonyms: Exact and related synonyms of experts.
        plain_synonyms: The same in laypeople's words.
        parents: Ids of the terms it is a kind of.
    """

    term_id: str
    name: str
    definition: str
    comment: str
    synonyms: tuple[str, ...]
    plain_synonyms: tuple[str, ...]
    parents: tuple[str, ...]


class Ontology:
    """Live terms by id, in file order, with the relations between them."""

    def __init__(self, terms: Iterable[Term]) -> None:
        self.terms = {term.term_id: term for term in terms}
        self._ancestors: dict[str, frozenset[str]] = {}

    @cached_property
    def children(self) -> dict[str, list[str]]:
        """Ids of the direct subterms of each term that has any, in file order."""
        children: dict[str, list[str]] = {}
        for term in self.terms.values():
            for parent in term.parents:
                children.setdefault(parent, []).append(term.term_id)
        return children

    @cached_property
    def organ_systems(self) -> dict[str, str]:
        """Id of each organ system and the short name used in answers, `Nervous system` for instance."""
        names = {key: self.terms[key].name for key in self.children.get(PHENOTYPIC_ABNORMALITY, [])}
        return {key: _sentence_case(_SYSTEM_WORDS.sub("", name)) for key, name in names.items()}

    def ancestors(self, term_id: str) -> frozenset[str]:
        """Ids of all terms above one, up to the root; itself left out."""
        if term_id not in self._ancestors:
            parents = self.terms[term_id].parents
            self._ancestors[term_id] = frozenset(parents).union(*(self.ancestors(parent) for parent in parents))
        return self._ancestors[term_id]

    def systems_of(self, term_id: str) -> list[str]:
        """Short names of the organ systems that a term lies in, sorted; an organ system lies in itself."""
        above = {term_id, *self.ancestors(term_id)}
        return sorted(name for key, name in self.organ_systems.items() if key in above)

    def siblings(self, term_id: str) -> list[str]:
        """Ids of the other children of its parents, sorted."""
        parents = self.terms[term_id].parents
        return sorted({child for parent in parents for child in self.children[parent]} - {term_id})


def load_ontology(descriptor: Path) -> Ontology:
    """The live terms of the ontology that a descriptor pins; raises what `packaged.locate` raises."""
    with locate(descriptor, "ontology").open(encoding="utf-8") as file:
        return Ontology(parse_obo(file))


def parse_obo(lines: Iterable[str]) -> Iterator[Term]:
    """The live terms of an OBO file, in file order."""
    for stanza in _stanzas(lines):
        if "true" not in stanza.get("is_obsolete", ()):
            yield _term(stanza)


def _stanzas(lines: Iterable[str]) -> Iterator[dict[str, list[str]]]:
    """Tag to values of each `[Term]` stanza."""
    stanza: dict[str, list[str]] | None = None
    for line in lines:
        if line.startswith("["):
            if stanza:
                yield stanza
            stanza = {} if line.startswith("[Term]") else None
        elif stanza is not None:
            tag, colon, value = line.rstrip("\n").partition(": ")
            if colon:
                stanza.setdefault(tag, []).append(value)
    if stanza:
        yield stanza


def _term(stanza: dict[str, list[str]]) -> Term:
    expert: list[str] = []
    plain: list[str] = []
    for line in stanza.get("synonym", []):
        text, rest = _quoted(line)
        scope, _, kind = rest.partition("[")[0].strip().partition(" ")
        if scope in ("EXACT", "RELATED") and kind != "obsolete_synonym":
            (plain if kind == "layperson" else expert).append(text)
    name = stanza["name"][0]
    return Term(
        term_id=stanza["id"][0],
        name=name,
        definition=_quoted(stanza["def"][0])[0] if "def" in stanza else "",
        comment=_unescape(stanza["comment"][0]) if "comment" in stanza else "",
        synonyms=_distinct(expert, [name]),
        plain_synonyms=_distinct(plain, [name, *expert]),
        parents=tuple(sorted(value.split()[0] for value in stanza.get("is_a", []))),
    )


def _quoted(value: str) -> tuple[str, str]:
    """The text inside the leading quotes, unescaped, and what follows them."""
    match = _QUOTED.match(value)
    return (_unescape(match[1]), match[2]) if match else (value, "")


def _unescape(value: str) -> str:
    return _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else match[1], value).strip()


def _distinct(names: list[str], known: list[str]) -> tuple[str, ...]:
    """Names without those that differ from an earlier or known one by case only."""
    seen = {name.casefold() for name in known}
    fresh = {name.casefold(): name for name in reversed(names) if name.casefold() not in seen}
    return tuple(name for name in names if fresh.pop(name.casefold(), None))


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]
