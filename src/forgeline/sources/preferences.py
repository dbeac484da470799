"""Preference pairs about ontology terms: two answers to one question, of which one is right.

Half of each split asks for a definition, with that of a term of another organ system as the wrong answer, half for the
organ system, with another system as the wrong answer. Terms are taken two by two and lend each other their answers, so
every answer is chosen as often as it is rejected and can only be judged together with its question. Both terms of two
are of the same split, so no answer of a test pair occurs in a training pair as the definition of its term.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from forgeline.core.params import Section
from forgeline.core.records import PreferencePair
from forgeline.core.run import Counts
from forgeline.sources.hpo import Ontology, load_ontology
from forgeline.sources.hpo_questions import DEFINITION, ORGAN_SYSTEM, boxed, single_system_terms, unrelated
from forgeline.sources.hpo_split import HpoParams, split_terms
from forgeline.sources.pairing import swap_pairs
from forgeline.sources.questions import user
from forgeline.text.split import SPLITS, Split, unit_hash

SOURCE = "hpo"
Limit = Annotated[int, Field(ge=2)]


class PreferenceParams(Section):
    """Section `preferences`: most pairs of each split, half of them about definitions; the seed chooses which stay."""

    max_train: Limit
    max_validation: Limit
    max_test: Limit
    seed: int


@dataclass(frozen=True)
class PreferenceResult:
    """Pairs of each split and the counts; `per_task` counts kept pairs: task -> split -> number.

    Over-limit pairs are counted, not stored: they follow from the ontology and the seed.
    """

    splits: dict[Split, list[PreferencePair]]
    counts: Counts
    per_task: dict[str, dict[str, int]]


@dataclass(frozen=True)
class _Answered:
    """A term with its question and the right answer."""

    term: str
    prompt: str
    answer: str


def build_preferences(descriptor: Path, params: PreferenceParams, hpo: HpoParams) -> PreferenceResult:
    """Builds the pairs of the ontology that a descriptor pins.

    Raises:
        DataError: The descriptor or the file that it names is missing.
        FingerprintError: The ontology is not the pinned one.
    """
    ontology = load_ontology(descriptor)
    splits = split_terms(ontology, hpo)
    limits: dict[Split, int] = {"train": params.max_train, "validation": params.max_validation, "test": params.max_test}
    kept: dict[Split, list[PreferencePair]] = {}
    num_built = 0
    for split in SPLITS:
        tasks = {
            "definition": _definitions(ontology, splits, split, params.seed),
            "organ_system": _systems(ontology, splits, split, params.seed),
        }
        num_built += sum(2 * len(twos) for twos in tasks.values())
        tasks = {task: _limit(twos, limits[split] // 2, params.seed) for task, twos in tasks.items()}
        kept[split] = [pair for task, twos in tasks.items() for two in twos for pair in _pairs(task, two)]
    num_kept = sum(len(pairs) for pairs in kept.values())
    counts = Counts(num_built, num_kept, {"over_limit": num_built - num_kept})
    return PreferenceResult(kept, counts, _per_task(kept))


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


def _pairs(task: str, two: tuple[_Answered, _Answered]) -> list[PreferencePair]:
    first, second = two
    return [
        PreferencePair.make(SOURCE, task, own.term, user(own.prompt), own.answer, other.answer)
        for own, other in ((first, second), (second, first))
    ]


def _per_task(kept: Mapping[Split, list[PreferencePair]]) -> dict[str, dict[str, int]]:
    return {
        task: {split: sum(pair.task == task for pair in pairs) for split, pairs in kept.items()}
        for task in ("definition", "organ_system")
    }
