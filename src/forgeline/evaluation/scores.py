"""Scores with a denominator, an interval and a baseline.

Counts of right answers get a Wilson interval; everything else the percentile interval of a bootstrap over samples.
Classification scores are functions of a confusion matrix, so that a resample costs one `bincount`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from forgeline.core.errors import DataError

Z_95 = 1.959963984540054  # 97.5 % quantile of the normal distribution

Floats = NDArray[np.float64]
Confusion = NDArray[np.int64]


@dataclass(frozen=True)
class Score:
    """One figure about a model.

    Attributes:
        value: The figure.
        low: Lower end of its 95 % interval.
        high: Upper end.
        n: Samples it rests on, unparsable answers included.
        baseline: What no skill at the task would score; None when there is no such figure.
        baseline_name: What the baseline is.
        interval: How the interval was computed.
    """

    value: float
    low: float
    high: float
    n: int
    baseline: float | None
    baseline_name: str | None
    interval: Literal["wilson", "bootstrap"]

    def as_json(self) -> dict[str, Any]:
        """The form in which a metrics file holds it."""
        return asdict(self)


def proportion(verdicts: Sequence[bool], baseline: float | None, baseline_name: str | None) -> Score:
    """The share of true verdicts, with its Wilson interval."""
    require_samples(len(verdicts))
    low, high = wilson_interval(sum(verdicts), len(verdicts))
    value = sum(verdicts) / len(verdicts)
    return Score(value, low, high, len(verdicts), baseline, baseline_name, "wilson")


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % score interval of a proportion (Wilson 1927), within [0, 1] and of sense at 0 and at 1."""
    share = successes / trials
    denominator = 1 + Z_95**2 / trials
    center = (share + Z_95**2 / (2 * trials)) / denominator
    margin = Z_95 * math.sqrt(share * (1 - share) / trials + Z_95**2 / (4 * trials**2)) / denominator
    return max(0.0, center - margin), min(1.0, center + margin)


def bootstrap_interval(
    statistic: Callable[[NDArray[np.int64]], float], num_samples: int, num_bootstrap: int, seed: int
) -> tuple[float, float]:
    """95 % percentile interval of `statistic` over resamples (Efron 1979).

    Args:
        statistic: The figure computed from the samples at the given indices [num_samples], repeats included.
        num_samples: How many samples there are.
        num_bootstrap: How many resamples are drawn.
        seed: Of the resampling.
    """
    generator = np.random.default_rng(seed)
    draws = [statistic(generator.integers(num_samples, size=num_samples)) for _ in range(num_bootstrap)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def ratio(
    numerators: Floats, denominators: Floats, transform: Callable[[float], float], num_bootstrap: int, seed: int
) -> tuple[float, float, float]:
    """Value, low and high of `transform(Σ numerators / Σ denominators)`, resampled over the entries."""
    require_samples(len(numerators))

    def statistic(indices: NDArray[np.int64]) -> float:
        return transform(float(numerators[indices].sum() / denominators[indices].sum()))

    low, high = bootstrap_interval(statistic, len(numerators), num_bootstrap, seed)
    return transform(float(numerators.sum() / denominators.sum())), low, high


def classification(
    statistic: Callable[[Confusion], float],
    references: Sequence[str],
    answers: Sequence[str | None],
    baseline: tuple[float, str],
    num_bootstrap: int,
    seed: int,
) -> Score:
    """A figure of a confusion matrix, with its bootstrap interval.

    Args:
        statistic: `macro_f1`, `balanced_accuracy` or `mcc`.
        references: The true classes.
        answers: The answered classes; None (no answer could be read) counts against its true class.
        baseline: The figure without skill, and its name.
        num_bootstrap: Resamples.
        seed: Of the resampling.
    """
    require_samples(len(references))
    cells, size = _cells(references, answers)

    def of(indices: NDArray[np.int64]) -> float:
        return statistic(np.bincount(cells[indices], minlength=size * size).reshape(size, size))

    low, high = bootstrap_interval(of, len(cells), num_bootstrap, seed)
    value = of(np.arange(len(cells)))
    return Score(value, low, high, len(cells), baseline[0], baseline[1], "bootstrap")


def confusion_matrix(references: Sequence[str], answers: Sequence[str | None]) -> Confusion:
    """Counts [true class, answered class]; the last row and column stand for no answer and for unknown classes."""
    cells, size = _cells(references, answers)
    return np.bincount(cells, minlength=size * size).reshape(size, size)


def _cells(references: Sequence[str], answers: Sequence[str | None]) -> tuple[NDArray[np.int64], int]:
    codes: dict[str | None, int] = {label: code for code, label in enumerate(sorted(set(references)))}
    size = len(codes) + 1
    cells = [codes[true] * size + codes.get(answer, size - 1) for true, answer in zip(references, answers, strict=True)]
    return np.array(cells, dtype=np.int64), size


def macro_f1(confusion: Confusion) -> float:
    """Mean over the true classes of F1 = 2 TP / (2 TP + FP + FN)."""
    true_positives = np.diag(confusion)
    present = confusion.sum(axis=1) > 0
    both = confusion.sum(axis=0) + confusion.sum(axis=1)
    return float((2 * true_positives[present] / both[present]).mean())


def balanced_accuracy(confusion: Confusion) -> float:
    """Mean over the true classes of recall."""
    present = confusion.sum(axis=1) > 0
    return float((np.diag(confusion)[present] / confusion.sum(axis=1)[present]).mean())


def mcc(confusion: Confusion) -> float:
    """Matthews' correlation of truth and answer, for any number of classes (Gorodkin 2004, eq. 8); 0 if undefined."""
    counts = confusion.astype(np.float64)
    total, true, answered = counts.sum(), counts.sum(axis=1), counts.sum(axis=0)
    covariance = np.trace(counts) * total - true @ answered
    spread = math.sqrt((total**2 - true @ true) * (total**2 - answered @ answered))
    return float(covariance / spread) if spread > 0 else 0.0


def majority_answers(references: Sequence[str]) -> list[str | None]:
    """What answering the commonest class every time gives: the classifier without skill."""
    require_samples(len(references))
    commonest = max(sorted(set(references)), key=list(references).count)
    return [commonest] * len(references)


def accuracy_of(references: Sequence[str], answers: Sequence[str | None]) -> float:
    """Share of answers that equal their reference."""
    return sum(true == answer for true, answer in zip(references, answers, strict=True)) / len(references)


def require_samples(number: int) -> None:
    """Raises `DataError` when there is nothing to score: a score without samples is no score."""
    if number == 0:
        raise DataError("no samples to score: check evaluate.scoring.tasks against the evaluation data")
