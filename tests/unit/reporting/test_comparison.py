from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from forgeline.reporting.comparison import compare, holm, mcnemar


def test_mcnemar_by_hand() -> None:
    # 1 loss among 6 decided: 2 * (C(6,0) + C(6,1)) / 2**6 = 14 / 64
    assert mcnemar(5, 1) == 14 / 64
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(3, 3) == 1.0


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_exact_binomial_test(wins: int, losses: int) -> None:
    if wins + losses:
        assert mcnemar(wins, losses) == pytest.approx(binomtest(wins, wins + losses, 0.5).pvalue)


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.04 against 0.05/3, 0.05/2, 0.05/1: all pass. With 0.03 in second place it stops there.
    assert holm([0.04, 0.01, 0.02]) == [True, True, True]
    assert holm([0.04, 0.01, 0.03]) == [False, True, False]
    assert holm([]) == []


def rows(task: str, verdicts: list[bool | None]) -> list[dict[str, Any]]:
    return [
        {"task": task, "sample_id": str(index), "correct": verdict, "details": {}}
        for index, verdict in enumerate(verdicts)
    ]


def test_pairs_are_matched_by_sample_not_by_place() -> None:
    base = rows("is_a", [True, False, False, False])
    tuned = list(reversed(rows("is_a", [False, True, True, False])))
    [found] = compare({"base": base, "sft": tuned}, {"sft": "base"})
    assert (found.n, found.wins, found.losses) == (4, 2, 1)
    assert found.difference == 0.25
    assert found.win_rate == pytest.approx(2 / 3)
    assert found.p_value == 1.0
    assert not found.significant


def test_documents_are_compared_by_likelihood_and_missing_ones_left_out() -> None:
    def documents(nlls: list[float]) -> list[dict[str, Any]]:
        return [
            {"task": "perplexity", "sample_id": str(i), "correct": None, "details": {"nll_nats": nll}}
            for i, nll in enumerate(nlls)
        ]

    [found] = compare({"a": documents([5.0, 7.0, 9.0]), "b": documents([6.0, 6.0])}, {"a": "b"})
    assert (found.n, found.wins, found.losses) == (2, 1, 1)


def test_a_clear_difference_is_significant_and_a_reference_without_samples_is_skipped() -> None:
    samples = {"sft": rows("is_a", [False] * 20), "dpo": rows("is_a", [True] * 20)}
    [found] = compare(samples, {"dpo": "sft", "sft": "base"})
    assert found.significant
    assert found.p_value == 2 / 2**20
