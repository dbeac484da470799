"""Preference pairs about ontology terms: two answers to one question, of which one is right.

Half of each split asks for a definition, with that of a term of another organ system as the wrong answer, half for the
organ system, with another system as the wrong answer. Terms are taken two by two and lend each other their answers, so
every answer is chosen as often as it is rejected and can only be judged together with its question. Both terms of two
are of the same split, so no answer of a test pair occurs in a training pair as the definition of its term.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from forgeline.core.records import PreferencePair
from forgeline.sources.hpo import Ontology, load_ontology
from forgeline.sources.hpo_questions import DEFINITION, ORGAN_SYSTEM, boxed, single_system_terms, unrelated
from forgeline.sources.hpo_split import HpoParams, split_terms
from forgeline.sources.pairing import swap_pairs
from forgeline.sources.questions import user
from forgeline.text.split import SPLITS, Split, unit_hash


@dataclass(frozen=True)
class _Answered:
    """A term with its question and the right answer."""

    term: str
    prompt: str
    answer: str


def hpo_pairs(
    descriptor: Path, source: str, limits: Mapping[Split, int], hpo: HpoParams, seed: int
) -> tuple[dict[Split, list[PreferencePair]], int]:
    """The pairs of the ontology that a descriptor pins.

    Args:
        descriptor: Of the packaged ontology.
        source: Name of the preference set.
        limits: Most pairs of each split, half of them about definitions.
        hpo: How terms are split.
        seed: Chooses who lends whom an answer, and which pairs stay.

    Returns:
        The pairs of each split, and how many there were before the limits.

    Raises:
        DataError: The descriptor or the file that it names is missing.
        FingerprintError: The ontology is not the pinned one.
    """
    ontology = load_ontology(descriptor)
    splits = split_terms(ontology, hpo)
    kept: dict[Split, list[PreferencePair]] = {}
    num_built = 0
    for split in SPLITS:
        tasks = {
            "definition": _definitions(ontology, splits, split, seed),
            "organ_system": _systems(ontology, splits, split, seed),
        }
        num_built += sum(2 * len(twos) for twos in tasks.values())
        tasks = {task: _limit(twos, limits[split] // 2, seed) for task, twos in tasks.items()}
        kept[split] = [pair for task, twos in tasks.items() for two in twos for pair in _pairs(source, task, two)]
    return kept, num_built


def _definitions(
    ontology: Ontology, splits: Mapping[str, Split], split: Split, seed: int
) -> list[tuple[_Answered, _Answered]]:
    """Terms of a split with definitions, two by two, with no organ system in common."""
    items = [
        _Answered(term.term_id, DEFINITION.format(x=term.name), term.definition)
        for term in ontology.terms.values()
        if splits[term.term_id] == split and term.definition and ontology.systems_of(term.term_id)
    ]
    return swap_pairs(
        sorted(items, key=lambda item: unit_hash(f"order:{item.term}", seed)),
        lambda first, second: unrelated(ontology, first.term, second.term),
    )


def _systems(
    ontology: Ontology, splits: Mapping[str, Split], split: Split, seed: int
) -> list[tuple[_Answered, _Answered]]:
    """Terms of a split with one organ system each, two by two, of different systems."""
    items = [
        _Answered(key, ORGAN_SYSTEM[0].format(x=ontology.terms[key].name), boxed(system))
        for key, system in single_system_terms(ontology).items()
        if splits[key] == split
    ]
    return swap_pairs(sorted(items, key=lambda item: unit_hash(f"order:{item.term}", seed)), _different)


def _different(first: _Answered, second: _Answered) -> bool:
    return first.answer != second.answer


def _limit(twos: list[tuple[_Answered, _Answered]], limit: int, seed: int) -> list[tuple[_Answered, _Answered]]:
    """At most `limit` pairs, two for each two terms, chosen by hash."""
    order = sorted(twos, key=lambda two: unit_hash(f"{two[0].term} {two[1].term}", seed))
    return order[: limit // 2]


def _pairs(source: str, task: str, two: tuple[_Answered, _Answered]) -> list[PreferencePair]:
    first, second = two
    return [
        PreferencePair.make(source, task, own.term, user(own.prompt), own.answer, other.answer)
        for own, other in ((first, second), (second, first))
    ]
