"""Prose about the Human Phenotype Ontology: one document per term and one per disease.

Held-out terms (validation and test) must not be given away. Their own documents leave out all that is asked about them:
parents, organ system and definition (short definitions would slip through the search for shared word runs in `curate`).
And no document names a held-out term as a parent: a child's document states the child's organ system, so "a kind of X"
in it would give away that of X. Where a term's parents are all held out, it simply has no sentence about parents.
Everything else stays: synonyms, comments, other terms' definitions, and diseases that list phenotypes by name.

Wording varies, so that the model learns more than one sentence pattern; which one is decided by a hash of the id.
"""

from collections.abc import Mapping, Sequence

from forgeline.core.storage import sha256_text
from forgeline.sources.hpo import Ontology, Term
from forgeline.sources.hpo_diseases import FREQUENCIES, UNKNOWN, Disease
from forgeline.text.split import Split

_ALSO_CALLED = (
    "{name} is also called {names}.",
    "{name} is also known as {names}.",
    "Other names: {names}.",
    "Synonyms of {name}: {names}.",
)
_IN_PLAIN_WORDS = ("In plain words: {names}.", "Patients may say: {names}.", "In everyday language this is {names}.")
_DEFINED = ("{text}", "Definition: {text}", "What is {name}? {text}", "{name} is defined as follows. {text}")
_COMMENTED = ("{text}", "Note: {text}", "Comment: {text}")
_KIND_OF = (
    "{name} is a kind of {names}.",
    "{name} is a subtype of {names}.",
    "It falls under {names}.",
    "{name} is one form of {names}.",
)
_ORGAN_SYSTEM = (
    "Organ system: {names}.",
    "It belongs to the organ system {names}.",
    "The organ system of {name} is {names}.",
    "What organ system does {name} affect? {names}.",
)
_ORGAN_SYSTEMS = ("Organ systems: {names}.", "It belongs to the organ systems {names}.", "It affects {names}.")

_DISEASE_INTRO = ("{name}", "Disease: {name}", "{name} and its phenotypes", "What are the signs of {name}?")
_INHERITED = ("Inheritance: {names}.", "{name} is inherited as follows: {names}.", "Mode of inheritance: {names}.")
_FREQUENCY_WORDS: dict[str, tuple[str, ...]] = {
    "obligate": ("Present in all patients: {names}.", "Always seen: {names}.", "Obligate (100%): {names}."),
    "very frequent": ("Very frequent (80-99%): {names}.", "Most patients have {names}.", "Very frequent: {names}."),
    "frequent": ("Frequent (30-79%): {names}.", "Many patients have {names}.", "Frequent: {names}."),
    "occasional": ("Occasional (5-29%): {names}.", "Some patients have {names}.", "Occasional: {names}."),
    "very rare": ("Very rare (1-4%): {names}.", "A few patients have {names}.", "Very rare: {names}."),
    UNKNOWN: ("Also reported: {names}.", "Reported phenotypes: {names}.", "Phenotypes: {names}."),
}
_FREQUENCY_ORDER = (*(name for name in FREQUENCIES if name != "excluded"), UNKNOWN)


def term_documents(ontology: Ontology, splits: Mapping[str, Split]) -> list[str]:
    """One document per live term, in file order; `splits` (by term id) says which terms are held out."""
    return [term_document(ontology, term, splits) for term in ontology.terms.values()]


def term_document(ontology: Ontology, term: Term, splits: Mapping[str, Split]) -> str:
    """Name, synonyms, comment, and unless the term is held out its definition, parents and organ systems."""
    held_out = splits[term.term_id] != "train"
    about = [
        _names_sentence(term, _ALSO_CALLED, term.synonyms),
        _names_sentence(term, _IN_PLAIN_WORDS, term.plain_synonyms),
    ]
    about += [
        _say(term.term_id, _DEFINED, name=term.name, text=term.definition) if term.definition and not held_out else ""
    ]
    about += [_say(term.term_id, _COMMENTED, name=term.name, text=term.comment) if term.comment else ""]
    paragraphs = [term.name, _join(about)]
    if not held_out:
        paragraphs.append(_classification(ontology, term, splits))
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _classification(ontology: Ontology, term: Term, splits: Mapping[str, Split]) -> str:
    parents = [ontology.terms[parent].name for parent in term.parents if splits[parent] == "train"]
    systems = ontology.systems_of(term.term_id)
    wording = _ORGAN_SYSTEM if len(systems) == 1 else _ORGAN_SYSTEMS
    return _join([_names_sentence(term, _KIND_OF, parents), _names_sentence(term, wording, systems)])


def disease_documents(diseases: Sequence[Disease], ontology: Ontology, max_phenotypes: int) -> list[str]:
    """One document per disease, in file order: name, inheritance, and its most frequent phenotypes by frequency."""
    return [disease_document(disease, ontology, max_phenotypes) for disease in diseases]


def disease_document(disease: Disease, ontology: Ontology, max_phenotypes: int) -> str:
    """Name, inheritance, and the `max_phenotypes` most frequent phenotypes (ties in annotation order), by frequency."""
    key = disease.disease_id
    ranked = sorted(disease.phenotypes.items(), key=lambda item: _FREQUENCY_ORDER.index(item[1]))[:max_phenotypes]
    inheritance = [ontology.terms[term].name for term in disease.inheritance]
    sentences = [_say(key, _INHERITED, name=disease.name, names=_enumerate(inheritance)) if inheritance else ""]
    for frequency in _FREQUENCY_ORDER:
        names = [ontology.terms[term].name for term, found in ranked if found == frequency]
        if names:
            sentences.append(_say(key, _FREQUENCY_WORDS[frequency], name=disease.name, names=_enumerate(names)))
    return f"{_say(key, _DISEASE_INTRO, name=disease.name)}\n\n{_join(sentences)}"


def _names_sentence(term: Term, wordings: Sequence[str], names: Sequence[str]) -> str:
    if not names:
        return ""
    return _say(term.term_id, wordings, name=term.name, names=_enumerate(names))


def _say(key: str, wordings: Sequence[str], **fields: str) -> str:
    """One of the wordings, the same for the same key and list, with the fields filled in."""
    choice = int(sha256_text(f"{key}:{wordings[0]}")[:8], 16) % len(wordings)
    return wordings[choice].format(**fields)


def _enumerate(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _join(sentences: Sequence[str]) -> str:
    return " ".join(sentence for sentence in sentences if sentence)
