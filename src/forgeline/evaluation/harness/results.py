"""What the harness found, as scores and rows like those of all other tasks."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgeline.core.errors import DataError
from forgeline.evaluation.params import ScoringParams
from forgeline.evaluation.scores import Score, bootstrap_interval, proportion
from forgeline.evaluation.tasks.base import sample_row

MULTIPLE_CHOICE, GENERATION = "multiple_choice", "generate_until"
_PROPORTIONS = ("acc", "acc_norm", "exact_match")  # of which a baseline can be given

Sample = Mapping[str, Any]


@dataclass(frozen=True)
class HarnessSamples:
    """What one of the harness's tasks found.

    Attributes:
        task: Its name there.
        output_type: How it asks.
        aggregations: By metric, how a score is made of the values of all samples.
        samples: As it logs them: one for each question and filter.
    """

    task: str
    output_type: str
    aggregations: Mapping[str, Callable[[list[Any]], Any]]
    samples: Sequence[Sample]

    @property
    def filters(self) -> list[str]:
        """The ways in which an answer is read, the first of which gives the verdict."""
        return list(dict.fromkeys(str(sample["filter"]) for sample in self.samples))

    def of_filter(self, name: str) -> list[Sample]:
        """The samples as one filter reads them, in the order of the questions."""
        found = [sample for sample in self.samples if sample["filter"] == name]
        return sorted(found, key=lambda sample: int(sample["doc_id"]))


def scores_of(parts: Sequence[HarnessSamples], scoring: ScoringParams) -> dict[str, Score]:
    """Every metric over all samples of all parts; `<metric>_<filter>` where answers are read in several ways.

    A mean of verdicts has the Wilson interval, everything else that of a bootstrap. Metrics that are no means cannot be
    pooled over the parts of a group and are left out there.

    Raises:
        DataError: A score is not a number.
    """
    first = parts[0]
    scores: dict[str, Score] = {}
    for name in first.filters:
        for metric in first.of_filter(name)[0]["metrics"]:
            values = [sample[metric] for part in parts for sample in part.of_filter(name) if metric in sample]
            key = metric if len(first.filters) == 1 else f"{metric}_{name}".replace("-", "_")
            score = _score(metric, values, parts, scoring)
            if score is not None:
                scores[key] = score
    return scores


def _score(metric: str, values: list[Any], parts: Sequence[HarnessSamples], scoring: ScoringParams) -> Score | None:
    baseline, baseline_name = _baseline(parts) if metric in _PROPORTIONS else (None, None)
    aggregate = parts[0].aggregations[metric]
    if _is_mean(aggregate) and all(isinstance(value, bool | int | float) for value in values):
        if all(value in (0, 1) for value in values):
            return proportion([bool(value) for value in values], baseline, baseline_name)
    elif len(parts) > 1:
        return None

    def statistic(chosen: NDArray[np.int64]) -> float:
        return float(aggregate([values[index] for index in chosen]))

    value = statistic(np.arange(len(values)))
    low, high = bootstrap_interval(statistic, len(values), scoring.num_bootstrap, scoring.seed)
    if not math.isfinite(value):
        raise DataError(f"lm-eval: {metric} of {parts[0].task} is not a number: leave the task out")
    return Score(value, low, high, len(values), baseline, baseline_name, "bootstrap")


def _is_mean(aggregate: Callable[[list[Any]], Any]) -> bool:
    return getattr(aggregate, "__name__", "") == "mean"


def _baseline(parts: Sequence[HarnessSamples]) -> tuple[float | None, str | None]:
    """The commonest answer where all questions have the same choices, else chance; none where there are no choices."""
    if any(part.output_type != MULTIPLE_CHOICE for part in parts):
        return None, None
    samples = [sample for part in parts for sample in part.of_filter(part.filters[0])]
    choices = [_choices(sample) for sample in samples]
    targets = [sample["target"] for sample in samples]
    if all(one == choices[0] for one in choices) and all(isinstance(target, int) for target in targets):
        return max(targets.count(target) for target in set(targets)) / len(targets), "majority class"
    return sum(1 / len(one) for one in choices) / len(choices), "chance"


def rows_of(name: str, parts: Sequence[HarnessSamples]) -> list[dict[str, Any]]:
    """A row for each question; its verdict is the first metric that says right or wrong of every question.

    Args:
        name: Of our task.
        parts: The harness's tasks that it stands for.
    """
    return [
        _row(name, part, sample, _verdict_metric(part)) for part in parts for sample in part.of_filter(part.filters[0])
    ]


def _verdict_metric(part: HarnessSamples) -> str | None:
    samples = part.of_filter(part.filters[0])
    verdicts = (name for name in samples[0]["metrics"] if all(_plain(row.get(name)) in (0, 1) for row in samples))
    return next(verdicts, None)


def _row(name: str, part: HarnessSamples, sample: Sample, verdict: str | None) -> dict[str, Any]:
    prompt = str(sample["arguments"][0][0])
    metrics = {metric: _plain(sample[metric]) for metric in sample["metrics"] if _plain(sample[metric]) is not None}
    details: dict[str, Any] = {"metrics": metrics, "filter": sample["filter"]}
    correct = None if verdict is None else bool(sample[verdict])
    reference = str(sample["target"])
    output, parsed = "", None
    if part.output_type == MULTIPLE_CHOICE:
        choices = _choices(sample)
        logps = [float(answer[0]) for answer in sample["filtered_resps"][: len(choices)]]
        output = parsed = choices[int(np.argmax(logps))]
        reference = choices[sample["target"]] if isinstance(sample["target"], int) else reference
        details |= {"choices": choices, "logps": logps}
    elif part.output_type == GENERATION:
        output, parsed = str(sample["resps"][0][0]), str(sample["filtered_resps"][0])
    return sample_row(name, f"{part.task}/{sample['doc_id']}", prompt, output, parsed, reference, correct, details)


def _choices(sample: Sample) -> list[str]:
    """What may follow the question, in order; requests without it, for normalization, come after them."""
    prompt = sample["arguments"][0][0]
    return [str(arguments[1]) for arguments in sample["arguments"] if arguments[0] == prompt]


def _plain(value: Any) -> float | int | None:
    """A number as JSON has it; None for the tuples of metrics that are no means."""
    if isinstance(value, bool | np.bool_ | int | np.integer):
        return int(value)
    return float(value) if isinstance(value, float | np.floating) else None
