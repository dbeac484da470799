"""Is one model better than another on the same samples? Exact paired tests.

Intervals of two models may overlap although one is plainly better, because both face the same easy and hard samples.
Paired tests look only at the samples on which the two differ.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

SIGNIFICANCE = 0.05
Samples = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Comparison:
    """A model against a reference on one task.

    Attributes:
        model: The model.
        reference: What it is compared with.
        task: The task.
        n: Samples that both were scored on.
        wins: Samples on which the model is right and the reference is not (perplexity: documents it predicts better).
        losses: The opposite.
        win_rate: wins / (wins + losses), the share of the samples that decide; None when there are none.
        difference: (wins - losses) / n: for verdicts, the difference of the accuracies.
        p_value: Of the exact McNemar test (for perplexity, of the sign test).
        significant: p_value survives Holm's correction over all comparisons made together, at 5 %.
    """

    model: str
    reference: str
    task: str
    n: int
    wins: int
    losses: int
    win_rate: float | None
    difference: float
    p_value: float
    significant: bool

    def as_json(self) -> dict[str, Any]:
        """The form in which leaderboard.json holds it."""
        return asdict(self)


def mcnemar(wins: int, losses: int) -> float:
    """Two-sided exact p-value of McNemar's test (1947): wins ~ Binomial(wins + losses, 1/2) if nothing differs."""
    decided = wins + losses
    tail: int = sum(math.comb(decided, k) for k in range(min(wins, losses) + 1))
    return float(min(1.0, 2 * tail / 2**decided))


def holm(p_values: Sequence[float], level: float = SIGNIFICANCE) -> list[bool]:
    """Which hypotheses Holm's step-down procedure (Holm 1979) rejects: at most a share `level` of families errs."""
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > level / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


def compare(samples: Mapping[str, Samples], references: Mapping[str, str]) -> list[Comparison]:
    """Compares models with their references on every task that both were scored on.

    Args:
        samples: Rows of samples.jsonl by model.
        references: The reference of each model; models without one, or without samples, are left out.
    """
    found = []
    for model, reference in references.items():
        if model not in samples or reference not in samples:
            continue
        ours, theirs = _by_task(samples[model]), _by_task(samples[reference])
        for task in ours:
            counts = _count(ours[task], theirs.get(task, {}))
            if counts[0]:
                found.append((model, reference, task, *counts))
    p_values = [mcnemar(wins, losses) for *_, wins, losses in found]
    return [
        Comparison(
            model, reference, task, n, wins, losses,
            wins / (wins + losses) if wins + losses else None, (wins - losses) / n, p_value, significant,
        )
        for (model, reference, task, n, wins, losses), p_value, significant in zip(
            found, p_values, holm(p_values), strict=True
        )
    ]  # fmt: skip


def _by_task(rows: Samples) -> dict[str, dict[str, float]]:
    """How good each answer is, by task and sample: 1 or 0 for a verdict, the log-likelihood for a document."""
    tasks: dict[str, dict[str, float]] = {}
    for row in rows:
        goodness = -row["details"]["nll_nats"] if "nll_nats" in row.get("details", {}) else row["correct"]
        if goodness is not None:
            tasks.setdefault(row["task"], {})[row["sample_id"]] = float(goodness)
    return tasks


def _count(ours: Mapping[str, float], theirs: Mapping[str, float]) -> tuple[int, int, int]:
    """Shared samples, wins, losses."""
    shared = ours.keys() & theirs.keys()
    wins = sum(ours[sample] > theirs[sample] for sample in shared)
    losses = sum(ours[sample] < theirs[sample] for sample in shared)
    return len(shared), wins, losses
