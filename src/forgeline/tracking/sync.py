"""Mirrors DVC results into MLflow: one parent run per result, one child per stage. Running it again adds nothing.

A result is identified by its dvc.lock entries, so the workspace that `register` mirrors and the commit or experiment
made of it afterwards are the same run, which then only gets their name.
"""

import csv
import hashlib
import io
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgeline.core.params import plain, read_yaml
from forgeline.tracking.batches import flatten, log_metrics, log_params
from forgeline.tracking.git import LOCK_FILE, Revision, committed_revisions, workspace
from forgeline.tracking.store import MIRROR_EXPERIMENT, open_store, store_lock, tracking_enabled

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

SYNCING_STAGE = "register"  # it syncs before it has an entry in dvc.lock, so it is no part of the identity
KIND_TAG = "forgeline.kind"
RESULT_TAG = "forgeline.result"
STAGE_KEY_TAG = "forgeline.stage_key"
ORIGIN_TAG = "forgeline.origin"
SEEN_TAG = "forgeline.revision."  # + commit id: that revision is mirrored by this run
_REFUSED = re.compile(r"[^\w./: -]")  # what MLflow does not take in the name of a metric
_RANK = {"workspace": 0, "experiment": 1, "commit": 2}  # the run of a result is named by the most durable revision


@dataclass(frozen=True)
class SyncReport:
    """What a sync did: results that are new in MLflow, and those that were there already."""

    num_new: int
    num_known: int


def sync_workspace() -> SyncReport:
    """Mirrors the files as they lie here; what the `register` stage runs."""
    return _sync([workspace()])


def sync_all() -> SyncReport:
    """Mirrors every commit that changed dvc.lock, every DVC experiment, and the workspace.

    Raises:
        Exception: One of `store.tracking_errors()` when the store cannot be reached.
    """
    return _sync([*committed_revisions(), workspace()])


def _sync(revisions: Iterable[Revision]) -> SyncReport:
    if not tracking_enabled():
        return SyncReport(0, 0)
    num_new = num_known = 0
    client, experiment = open_store(MIRROR_EXPERIMENT)
    with store_lock("sync"):
        mirror = _Mirror(client, experiment)
        for revision in revisions:
            added = mirror.add(revision)
            num_new += added
            num_known += not added
    return SyncReport(num_new, num_known)


class _Mirror:
    """The mirrored results of one MLflow experiment, and how to add to them."""

    def __init__(self, client: "MlflowClient", experiment: str) -> None:
        self._client = client
        self._experiment = experiment
        self._parents: dict[str, Run] = {}
        for run in self._search(f"tags.`{KIND_TAG}` = 'result'"):
            if run.info.status == "FINISHED":
                self._parents[run.data.tags[RESULT_TAG]] = run
            else:  # a sync was killed in the middle: start that result again
                self._discard(run)
        self._seen = {tag for run in self._parents.values() for tag in run.data.tags if tag.startswith(SEEN_TAG)}
        self._executed: dict[str, str] | None = None

    def add(self, revision: Revision) -> bool:
        """Mirrors one revision; False when its result was there."""
        if revision.commit and SEEN_TAG + revision.commit in self._seen:
            return False
        stages = _locked_stages(revision)
        if not stages:
            return False
        result = result_key(stages)
        parent = self._parents.get(result)
        if parent is None:
            parent = self._create(revision, result, stages)
        else:
            self._name_again(parent, revision)
            stages = {}
        self._parents[result] = self._client.get_run(parent.info.run_id)
        return bool(stages)

    def _create(self, revision: Revision, result: str, stages: Mapping[str, Any]) -> "Run":
        moment = revision.timestamp * 1000
        tags = {KIND_TAG: "result", RESULT_TAG: result, **_revision_tags(revision)}
        parent = self._client.create_run(self._experiment, moment, tags, revision.name)
        run_id = parent.info.run_id
        log_params(self._client, run_id, _params(revision))
        headlines = []
        for address, entry in stages.items():
            metrics = self._add_stage(revision, run_id, address, entry)
            prefix = address.replace("@", "/")
            headlines += [_metric(f"{prefix}/{name}", value, moment, 0) for name, value in metrics.items()]
        log_metrics(self._client, run_id, headlines)
        self._client.set_terminated(run_id, "FINISHED", moment)
        return parent

    def _add_stage(self, revision: Revision, parent: str, address: str, entry: Mapping[str, Any]) -> dict[str, float]:
        """Adds the child run of one stage and returns the stage's figures."""
        key = stage_key(entry)
        first = self._first_runs().get(key)
        moment = revision.timestamp * 1000
        tags = {
            KIND_TAG: "stage",
            "mlflow.parentRunId": parent,
            "forgeline.stage": address,
            STAGE_KEY_TAG: key,
            ORIGIN_TAG: "restored" if first else "executed",
            **({"forgeline.restored_from": first} if first else {}),
            **{f"forgeline.out.{out['path']}": str(out.get("md5", "")) for out in entry.get("outs", [])},
        }
        run_id = self._client.create_run(self._experiment, moment, tags, address).info.run_id
        log_params(self._client, run_id, {k: v for file in entry.get("params", {}).values() for k, v in file.items()})
        outs = [out["path"] for out in entry.get("outs", [])]
        figures = dict(_figures(revision, outs))
        metrics = [_metric(name, value, moment, 0) for name, value in figures.items()]
        log_metrics(self._client, run_id, metrics + list(_curves(revision, outs, moment)))
        self._client.set_terminated(run_id, "FINISHED", moment)
        self._first_runs().setdefault(key, run_id)
        return figures

    def _first_runs(self) -> dict[str, str]:
        """Run that first showed each stage key; looked up once, and only when something is to be added."""
        if self._executed is None:
            runs = self._search(f"tags.`{ORIGIN_TAG}` = 'executed'")
            self._executed = {run.data.tags[STAGE_KEY_TAG]: run.info.run_id for run in runs}
        return self._executed

    def _name_again(self, parent: "Run", revision: Revision) -> None:
        if revision.kind == "workspace":
            return
        run_id = parent.info.run_id
        if _RANK[revision.kind] > _RANK[parent.data.tags["forgeline.revision_kind"]]:
            self._client.update_run(run_id, name=revision.name)
            tags = _revision_tags(revision)
        else:
            tags = {SEEN_TAG + revision.commit: revision.name}
        for name, value in tags.items():
            self._client.set_tag(run_id, name, value)

    def _search(self, condition: str) -> list["Run"]:
        runs: list[Run] = []
        page = self._client.search_runs([self._experiment], condition)
        runs += page
        while page.token:
            page = self._client.search_runs([self._experiment], condition, page_token=page.token)
            runs += page
        return runs

    def _discard(self, parent: "Run") -> None:
        for child in self._search(f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"):
            self._client.delete_run(child.info.run_id)
        self._client.delete_run(parent.info.run_id)


def stage_key(entry: Mapping[str, Any]) -> str:
    """Identity of one stage run: its dvc.lock entry (command, inputs, params, outputs)."""
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:32]


def result_key(stages: Mapping[str, Any]) -> str:
    """Identity of a pipeline result: the keys of its stages."""
    keys = {name: stage_key(entry) for name, entry in stages.items()}
    return hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()[:32]


def _locked_stages(revision: Revision) -> dict[str, Any]:
    lock = _read_yaml(revision, LOCK_FILE).get("stages", {})
    return {name: entry for name, entry in lock.items() if name.partition("@")[0] != SYNCING_STAGE}


def _params(revision: Revision) -> dict[str, Any]:
    return _read_yaml(revision, "params.yaml")


def _read_yaml(revision: Revision, path: str) -> dict[str, Any]:
    text = revision.read(path)
    if not text:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / Path(path).name
        file.write_text(text, encoding="utf-8")
        return plain(read_yaml(file)) or {}


def _revision_tags(revision: Revision) -> dict[str, str]:
    tags = {"forgeline.revision_kind": revision.kind}
    if revision.commit:
        tags |= {"mlflow.source.git.commit": revision.commit, SEEN_TAG + revision.commit: revision.name}
    return tags


def _figures(revision: Revision, outs: Iterable[str]) -> Iterator[tuple[str, float]]:
    """Every number of the JSON metrics among `outs`, by dotted name; a score is one number plus its interval."""
    for path in outs:
        if not (path.startswith("metrics/") and path.endswith(".json")):
            continue
        content = json.loads(revision.read(path) or "{}")
        for name, value in flatten(content if isinstance(content, dict) else {}):
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            yield name.removeprefix("tasks.").removesuffix(".value"), float(value)


def _curves(revision: Revision, outs: Iterable[str], moment: int) -> Iterator["Metric"]:
    """Every column of the training histories among `outs`, by step."""
    for path in outs:
        if not (path.startswith("metrics/") and path.endswith(".csv")):
            continue
        for row in csv.DictReader(io.StringIO(revision.read(path) or "")):
            if "step" not in row:
                break
            columns = ((name, value) for name, value in row.items() if name != "step" and value)
            yield from (_metric(f"history/{name}", float(value), moment, int(row["step"])) for name, value in columns)


def _metric(name: str, value: float, moment: int, step: int) -> "Metric":
    from mlflow.entities import Metric

    return Metric(_REFUSED.sub("_", name), value, moment, step)
