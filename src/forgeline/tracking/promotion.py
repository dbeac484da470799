"""Moves the alias `champion` to a candidate that a paired comparison on the same samples finds better."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgeline.core.errors import DataError
from forgeline.reporting.comparison import Comparison, compare
from forgeline.tracking.evidence import find_samples
from forgeline.tracking.params import RegisterParams
from forgeline.tracking.registry import PATH_TAG, SAMPLES_TAG
from forgeline.tracking.store import MIRROR_EXPERIMENT, open_store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
PROMOTION_TAG = "forgeline.promotion"  # the numbers that moved the alias
FORCED_TAG = "forgeline.promotion.forced"  # why it was moved against them


@dataclass(frozen=True)
class Promotion:
    """What became of a candidate.

    Attributes:
        name: The registered model.
        candidate: Its version.
        champion: The version that had the alias before; None when there was none.
        promoted: Whether the candidate has the alias now.
        reason: Why, in a sentence.
        comparisons: The candidate against the champion, a task each.
    """

    name: str
    candidate: int
    champion: int | None
    promoted: bool
    reason: str
    comparisons: Sequence[Comparison]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def promote(model: str, params: RegisterParams, tasks: Sequence[str], force: str | None) -> Promotion:
    """Decides over the candidate of a registered model.

    It becomes champion if it is significantly better on every task named (without any: on at least one) and
    significantly worse on none. Significant is what survives Holm's correction over all tasks that both were scored on,
    at 5 %. The first champion needs no comparison.

    Args:
        model: A registered model, with or without the prefix `register.name`.
        params: Prefix and alias of candidates.
        tasks: Tasks that count.
        force: A reason to promote whatever the comparison says; it becomes a tag.

    Raises:
        DataError: There is no such model or candidate, the samples are not here, or a task was not scored.
        Exception: One of `store.tracking_errors()` when the store fails.
    """
    client, _ = open_store(MIRROR_EXPERIMENT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = registered_name(client, model, params.name)
        candidate, champion = _aliased(client, name, params.alias), _aliased(client, name, CHAMPION)
        if candidate is None:
            raise DataError(f"{name} has no version with the alias '{params.alias}': `forgeline repro` registers one")
        numbers = (name, int(candidate.version), None if champion is None else int(champion.version))
        if champion is not None and champion.version == candidate.version:
            return Promotion(*numbers, False, f"version {champion.version} is the champion already", [])
        comparisons: list[Comparison] = []
        if champion is not None and force is None:
            comparisons = _compare(candidate, champion)
        promoted, reason = decide(comparisons, tasks) if champion is not None else (True, "the first champion")
        if force is not None:
            promoted, reason = True, f"forced: {force}"
        decision = Promotion(*numbers, promoted, reason, comparisons)
        if promoted:
            _move(client, decision, force)
    return decision


def decide(comparisons: Sequence[Comparison], tasks: Sequence[str]) -> tuple[bool, str]:
    """Whether these differences make a champion, and why.

    Raises:
        DataError: A task named is not among those that both were scored on.
    """
    scored = {comparison.task: comparison for comparison in comparisons}
    if unknown := [task for task in tasks if task not in scored]:
        raise DataError(f"{', '.join(unknown)}: not scored on both; there are {', '.join(scored) or 'no tasks'}")
    better = [task for task, found in scored.items() if found.significant and found.difference > 0]
    worse = [task for task, found in scored.items() if found.significant and found.difference < 0]
    short = [task for task in tasks if task not in better]
    if worse:
        return False, f"it is worse on {', '.join(worse)}"
    if short:
        return False, f"it is not significantly better on {', '.join(short)}"
    if not better:
        return False, "it is significantly better on no task"
    return True, f"it is better on {', '.join(better)} and worse on none"


def registered_name(client: "MlflowClient", model: str, prefix: str) -> str:
    """The registered model that is meant.

    Raises:
        DataError: There is none; names those there are.
    """
    known = [found.name for found in client.search_registered_models()]
    for name in (model, f"{prefix}-{model}"):
        if name in known:
            return name
    there = f"there are {', '.join(sorted(known))}" if known else "`forgeline repro` registers the models"
    raise DataError(f"no registered model '{model}': {there}")


def _aliased(client: "MlflowClient", name: str, alias: str) -> "ModelVersion | None":
    number = client.get_registered_model(name).aliases.get(alias)
    return None if number is None else client.get_model_version(name, str(number))


def _move(client: "MlflowClient", decision: Promotion, force: str | None) -> None:
    numbers = {
        comparison.task: {
            "n": comparison.n, "difference": round(comparison.difference, 4), "p_value": round(comparison.p_value, 6)
        }
        for comparison in decision.comparisons
    }  # fmt: skip
    content = {"over": decision.champion, "reason": decision.reason, "tasks": numbers}
    version = str(decision.candidate)
    client.set_model_version_tag(decision.name, version, PROMOTION_TAG, json.dumps(content, sort_keys=True))
    if force is not None:
        client.set_model_version_tag(decision.name, version, FORCED_TAG, force)
    client.set_registered_model_alias(decision.name, CHAMPION, version)


def _compare(candidate: "ModelVersion", champion: "ModelVersion") -> list[Comparison]:
    ours, theirs = _samples(candidate), _samples(champion)
    prompts = {(row["task"], row["sample_id"]): row["prompt_sha256"] for row in theirs}
    same = [row for row in ours if prompts.get((row["task"], row["sample_id"])) == row["prompt_sha256"]]
    comparisons = compare({CHAMPION: theirs, "candidate": same}, {"candidate": CHAMPION})
    if not comparisons:
        raise DataError(
            f"versions {candidate.version} and {champion.version} of {candidate.name} were scored on no common sample: "
            "evaluate the champion's revision on the present tasks, or say why with --force"
        )
    return comparisons


def _samples(version: "ModelVersion") -> list[dict[str, Any]]:
    """The samples that a version's scores rest on, from the workspace or from DVC's cache."""
    digest, model = version.tags.get(SAMPLES_TAG), Path(version.tags.get(PATH_TAG, "")).name
    if digest is None:
        raise DataError(
            f"version {version.version} of {version.name} was not evaluated when it was registered: "
            "add it to evaluate.models, or say why with --force"
        )
    samples = find_samples(model, digest)
    if samples is None:
        raise DataError(
            f"the samples of version {version.version} of {version.name} (md5 {digest}) are not in DVC's cache: "
            "`dvc fetch --all-commits` gets them from the remote"
        )
    return samples


def show(decision: Promotion) -> list[str]:
    """For the terminal: the numbers, then the decision."""
    against = "" if decision.champion is None else f" against version {decision.champion}"
    lines = [
        f"{found.task}: {found.difference:+.4f} on {found.n} samples ({found.wins} better, {found.losses} worse), "
        f"p = {found.p_value:.4g}{', significant' if found.significant else ''}"
        for found in decision.comparisons
    ]
    moved = f"is '{CHAMPION}' now" if decision.promoted else f"is not made '{CHAMPION}'"
    return [*lines, f"{decision.name} version {decision.candidate}{against} {moved}: {decision.reason}"]
