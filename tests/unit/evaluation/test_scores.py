import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, matthews_corrcoef

from forgeline.core.errors import DataError
from forgeline.evaluation.scores import (
    balanced_accuracy,
    bootstrap_interval,
    classification,
    confusion_matrix,
    macro_f1,
    majority_answers,
    mcc,
    proportion,
    ratio,
    wilson_interval,
)

LABELS = st.sampled_from(["a", "b", "c", "d"])
CASES = st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=60)


def test_wilson_interval_by_hand():
    # Newcombe 1998, table I, method 3: 81/263 gives 0.2553 to 0.3662, 0/20 gives 0 to 0.1611
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(20, 20) == pytest.approx((0.8389, 1.0), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_the_share(case):
    low, high = wilson_interval(*case)
    assert 0 <= low <= case[0] / case[1] + 1e-12
    assert case[0] / case[1] - 1e-12 <= high <= 1


@given(CASES)
def test_classification_scores_equal_scikit_learn(cases):
    references, answers = [c[0] for c in cases], [c[1] for c in cases]
    confusion = confusion_matrix(references, answers)
    present = sorted(set(references))
    expected_f1 = f1_score(references, answers, labels=present, average="macro", zero_division=0)
    assert macro_f1(confusion) == pytest.approx(expected_f1)
    assert balanced_accuracy(confusion) == pytest.approx(
        np.mean([np.mean([a == label for r, a in cases if r == label]) for label in present])
    )
    if set(answers) <= set(present):
        assert balanced_accuracy(confusion) == pytest.approx(_quiet(balanced_accuracy_score, references, answers))
        assert mcc(confusion) == pytest.approx(_quiet(matthews_corrcoef, references, answers), abs=1e-9)


def _quiet(function, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)


def test_an_unparsable_answer_is_wrong_and_stays_in_the_denominator():
    references = ["a", "a", "b", "b"]
    confusion = confusion_matrix(references, ["a", None, "b", "z"])
    assert confusion.tolist() == [[1, 0, 1], [0, 1, 1], [0, 0, 0]]
    assert balanced_accuracy(confusion) == 0.5
    assert macro_f1(confusion) == pytest.approx(2 / 3)  # F1 of each class: 2*1 / (2*1 + 0 + 1)
    assert proportion([True, False, True, False], None, None).n == 4


def test_bootstrap_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(0).normal(10, 2, size=400)
    low, high = bootstrap_interval(lambda indices: float(values[indices].mean()), 400, 2000, 1)
    error = values.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.15 * error)
    assert (low, high) == bootstrap_interval(lambda indices: float(values[indices].mean()), 400, 2000, 1)


def test_ratio_divides_the_sums():
    value, low, high = ratio(np.array([2.0, 4.0]), np.array([1.0, 3.0]), lambda x: 2 * x, 200, 0)
    assert value == 3.0  # 2 * (2 + 4) / (1 + 3), not the mean of ratios
    assert low == pytest.approx(2 * 4 / 3)
    assert high == pytest.approx(4.0)


def test_classification_score_carries_baseline_and_interval():
    references, answers = ["a", "b"] * 50, ["a", "b"] * 40 + ["b", "a"] * 10
    score = classification(mcc, references, answers, (0.0, "chance"), 200, 3)
    assert score.value == pytest.approx(0.6)
    assert 0.4 < score.low < 0.6 < score.high < 0.8
    assert score.as_json() == {
        "value": score.value,
        "low": score.low,
        "high": score.high,
        "n": 100,
        "baseline": 0.0,
        "baseline_name": "chance",
        "interval": "bootstrap",
    }


def test_majority_answers():
    assert majority_answers(["b", "a", "b"]) == ["b", "b", "b"]
    assert majority_answers(["b", "a"]) == ["a", "a"]  # a tie is broken by name, not by order


def test_no_samples_is_an_error():
    with pytest.raises(DataError, match="no samples"):
        proportion([], None, None)
    with pytest.raises(DataError, match="no samples"):
        ratio(np.zeros(0), np.zeros(0), float, 100, 0)
    with pytest.raises(DataError, match="no samples"):
        majority_answers([])
