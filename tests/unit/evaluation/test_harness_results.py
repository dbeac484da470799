"""What the harness logs, by hand, as our scores and rows."""

from typing import Any

import pytest

from forgeline.core.errors import DataError
from forgeline.evaluation.harness.results import GENERATION, MULTIPLE_CHOICE, HarnessSamples, rows_of, scores_of
from forgeline.evaluation.params import ScoringParams

SCORING = ScoringParams(
    tasks=["mine"], max_documents=1, window_tokens=8, batch_tokens=64, max_new_tokens=4, num_bootstrap=100, seed=1
)


def mean(values: list[Any]) -> float:
    return sum(values) / len(values)


def most(values: list[Any]) -> float:
    return max(first for first, _ in values)


def chosen(number: int, target: int, logps: list[float], choices: list[str]) -> dict[str, Any]:
    prompt = f"question {number}"
    arguments = [(prompt, choice) for choice in choices] + [("", choice) for choice in choices]
    right = float(logps.index(max(logps)) == target)
    return {
        "doc_id": number, "filter": "none", "target": target, "arguments": arguments, "metrics": ["acc", "spread"],
        "filtered_resps": [(logp, False) for logp in [*logps, *reversed(logps)]], "acc": right, "spread": (number, 1),
    }  # fmt: skip


def multiple_choice(name: str, *samples: dict[str, Any]) -> HarnessSamples:
    return HarnessSamples(name, MULTIPLE_CHOICE, {"acc": mean, "spread": most}, samples)


def written(number: int, strict: float, flexible: float, length: float) -> list[dict[str, Any]]:
    common = {"doc_id": number, "target": 7, "arguments": [("how many", {})], "resps": [[f"it is {number}"]]}
    return [
        {**common, "filter": "strict-match", "filtered_resps": ["[none]"], "metrics": ["exact_match", "length"],
         "exact_match": strict, "length": length},
        {**common, "filter": "flexible", "filtered_resps": [str(number)], "metrics": ["exact_match", "length"],
         "exact_match": flexible, "length": length},
    ]  # fmt: skip


def test_choices_with_requests_that_only_normalize() -> None:
    part = multiple_choice("one", chosen(1, 0, [-1.0, -2.0], ["yes", "no"]), chosen(0, 0, [-3.0, -2.0], ["yes", "no"]))
    scores = scores_of([part], SCORING)
    assert (scores["acc"].value, scores["acc"].n, scores["acc"].interval) == (0.5, 2, "wilson")
    assert (scores["acc"].baseline, scores["acc"].baseline_name) == (1.0, "majority class")
    assert (scores["spread"].value, scores["spread"].interval, scores["spread"].baseline) == (1.0, "bootstrap", None)
    first, second = rows_of("mine", [part])
    assert (first["sample_id"], first["prompt"], first["output"], first["reference"]) == (
        "one/0", "question 0", "no", "yes",
    )  # fmt: skip
    assert (first["correct"], second["correct"]) == (False, True)
    assert second["details"] == {
        "choices": ["yes", "no"], "logps": [-1.0, -2.0], "metrics": {"acc": 1.0}, "filter": "none",
    }  # fmt: skip


def test_a_group_is_pooled_over_its_questions() -> None:
    parts = [
        multiple_choice("a", chosen(0, 0, [-1.0, -2.0], ["x", "y"])),
        multiple_choice("b", *(chosen(n, 3, [-1.0, -2.0, -3.0, -4.0], ["p", "q", "r", "s"]) for n in range(3))),
    ]
    scores = scores_of(parts, SCORING)
    assert sorted(scores) == ["acc"]  # `spread` is no mean
    assert (scores["acc"].value, scores["acc"].n) == (0.25, 4)
    assert (scores["acc"].baseline, scores["acc"].baseline_name) == (pytest.approx((1 / 2 + 3 / 4) / 4), "chance")
    assert [row["sample_id"] for row in rows_of("mine", parts)] == ["a/0", "b/0", "b/1", "b/2"]


def test_several_ways_of_reading_an_answer() -> None:
    samples = [*written(7, 0.0, 1.0, 2.5), *written(8, 0.0, 0.0, 3.5)]
    part = HarnessSamples("gsm", GENERATION, {"exact_match": mean, "length": mean}, samples)
    scores = scores_of([part], SCORING)
    assert {name: score.value for name, score in scores.items()} == {
        "exact_match_strict_match": 0.0, "length_strict_match": 3.0,
        "exact_match_flexible": 0.5, "length_flexible": 3.0,
    }  # fmt: skip
    assert scores["length_flexible"].interval == "bootstrap"
    assert scores["exact_match_flexible"].baseline is None
    row = rows_of("mine", [part])[0]
    assert (row["output"], row["parsed"], row["reference"], row["correct"]) == ("it is 7", "[none]", "7", False)


def test_a_measure_that_happens_to_be_one_is_no_verdict() -> None:
    samples = [*written(7, 1.0, 1.0, 1.0), *written(8, 0.5, 0.0, 3.5)]
    part = HarnessSamples("gsm", GENERATION, {"exact_match": mean, "length": mean}, samples)
    assert [row["correct"] for row in rows_of("mine", [part])] == [None, None]


def test_a_score_that_is_no_number_is_an_error() -> None:
    part = HarnessSamples("gsm", GENERATION, {"exact_match": mean, "length": mean}, written(7, 1.0, 1.0, float("nan")))
    with pytest.raises(DataError, match="length of gsm is not a number"):
        scores_of([part], SCORING)
