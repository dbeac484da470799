"""The quality rules against datatrove on mixed documents: decisions, reasons, and the texts that C4's rules leave."""

from dataclasses import dataclass

import pyarrow as pa
import pytest
from tests.unit.text.mixed_documents import Sample, mixed_documents
from tests.unit.text.quality_reference import KEPT, PUBLISHED, Reference

from forgeline.text.quality.params import FAMILIES, QualityParams
from forgeline.text.quality.rules import REASONS, RULES, judge

NUM_FAST, NUM_SLOW = 1_500, 20_000
LEAST_EQUAL = 0.999
ALL = "all"


@dataclass(frozen=True)
class Outcome:
    sample: Sample
    reference: tuple[str, str]
    ours: tuple[str, str]

    @property
    def equal_decision(self) -> bool:
        return (self.reference[0] == KEPT) == (self.ours[0] == KEPT)


def ours(texts: list[str], params: QualityParams) -> list[tuple[str, str]]:
    judged = judge(pa.array(texts, pa.string()), params)
    reasons = [REASONS[reason] for reason in judged.reasons.tolist()]
    return list(zip(reasons, judged.texts.to_pylist(), strict=True))


def outcomes_of(samples: list[Sample]) -> dict[str, list[Outcome]]:
    """By family, and for all of them in a row."""
    reference = Reference()
    texts = [sample.text for sample in samples]
    judged = {family: ours(texts, PUBLISHED.only(family)) for family in FAMILIES} | {ALL: ours(texts, PUBLISHED)}
    outcomes: dict[str, list[Outcome]] = {name: [] for name in judged}
    for number, sample in enumerate(samples):  # one by one: the reference remembers the words of the last five texts
        found = {family: reference.judge(family, sample.text) for family in FAMILIES}
        found[ALL] = in_a_row(reference, found)
        for name in judged:
            outcomes[name].append(Outcome(sample, found[name], judged[name][number]))
    return outcomes


def in_a_row(reference: Reference, found: dict[str, tuple[str, str]]) -> tuple[str, str]:
    """The verdict of all families, from those on the text as it came: only C4's rules change it for the next."""
    for family in ("gopher_repetition", "gopher_quality", "c4"):
        if found[family][0] != KEPT:
            return found[family]
    return reference.judge("fineweb", found["c4"][1])


def check(outcomes: list[Outcome], fewest: int) -> None:
    """Fails unless nearly all decisions and reasons are equal, and the text of every document that both keep."""
    allowed = round(len(outcomes) * (1 - LEAST_EQUAL))
    unequal = [outcome for outcome in outcomes if not outcome.equal_decision]
    assert len(unequal) <= allowed, unequal[:5]
    other_reason = [outcome for outcome in outcomes if outcome.reference[0] != outcome.ours[0]]
    assert len(other_reason) <= allowed, other_reason[:5]
    both_keep = [outcome for outcome in outcomes if outcome.reference[0] == outcome.ours[0] == KEPT]
    assert [outcome for outcome in both_keep if outcome.reference[1] != outcome.ours[1]] == []
    # The comparison is worth something only where both verdicts occur.
    assert fewest < len(both_keep) < len(outcomes) - fewest


@pytest.fixture(scope="module")
def few() -> dict[str, list[Outcome]]:
    return outcomes_of(mixed_documents(NUM_FAST, seed=0))


@pytest.mark.parametrize("name", [*FAMILIES, ALL])
def test_decisions_are_the_references(name: str, few: dict[str, list[Outcome]]) -> None:
    check(few[name], fewest=20)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_decisions_are_the_references_on_many_documents() -> None:
    outcomes = outcomes_of(mixed_documents(NUM_SLOW, seed=1))
    for name in outcomes:
        check(outcomes[name], fewest=300)
    # Every rule has dropped something, or this would be no test of it; the other two are tested below.
    found = {outcome.reference[0] for family in FAMILIES for outcome in outcomes[family]}
    assert {rule for family in FAMILIES for rule in RULES[family]} - found == {
        "gopher_too_many_words",
        "c4_no_lines_left",
    }


def test_long_words_take_their_line_along() -> None:
    line = "A line with a word of a thousand characters, {word}, and more sentences. One. Two. Three. Four. Five."
    texts = [
        line.format(word="é" * size) + "\nAnother line. It has. Sentences. Of its own. So." for size in (1000, 1001)
    ]
    assert ours(texts, PUBLISHED.only("c4")) == [Reference().judge("c4", text) for text in texts]


def test_ngrams_equal_only_without_spaces_are_the_known_difference() -> None:
    """docs/cleaning-parity.md: the reference compares n-grams written without spaces, the kernels compare words."""
    text = (
        "Of all the words that stand in this text only a few occur more than once, so that no other rule is broken by "
        "it. alpha beta gamma delta epsilon. Others came. al pha betagamma delta epsilon. Nothing."
    )
    assert Reference().judge("gopher_repetition", text)[0] == "gopher_duplicate_7grams"
    assert ours([text], PUBLISHED.only("gopher_repetition"))[0][0] == KEPT
