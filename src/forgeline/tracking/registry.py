"""Registers model folders in MLflow: the weights stay where DVC keeps them, MLflow gets their identity and lineage."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgeline.core.errors import DataError
from forgeline.core.progress import announce_fact, announce_warning
from forgeline.core.storage import read_json, sha256_path
from forgeline.reporting.names import Locked, full_name
from forgeline.tracking.evidence import samples_path
from forgeline.tracking.git import head_commit, workspace
from forgeline.tracking.params import RegisterParams
from forgeline.tracking.store import (
    MIRROR_EXPERIMENT,
    open_store,
    reason,
    tracking_enabled,
    tracking_errors,
    tracking_uri,
)
from forgeline.tracking.sync import sync_workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CONTENT_TAG = "forgeline.sha256"
PATH_TAG = "forgeline.path"
NAME_TAG = "forgeline.name"
MODEL_HASH_TAG = "forgeline.md5"  # as dvc.lock has it: leads from a version to its lineage
SAMPLES_TAG = "forgeline.samples.md5"  # leads to the samples, which the cache and the remotes keep


@dataclass(frozen=True)
class RegisteredModel:
    """One model folder in the registry. `version` is None when tracking is off; `is_new` when this call made it."""

    name: str
    path: str
    sha256: str
    version: int | None
    is_new: bool


def register_models(
    models: Path, params: RegisterParams, leaderboard: Mapping[str, Any], locked: Locked
) -> list[RegisteredModel]:
    """Registers the folders `params.models` of `models`, and moves the alias to them.

    A folder whose content is registered already gets no second version; what is new about it, another evaluation for
    instance, becomes the tags of the one it has.

    Args:
        models: The folder that holds the model folders.
        params: Names and alias.
        leaderboard: Content of leaderboard.json; its scores become tags of the version.
        locked: The stages of dvc.lock: where the model's lineage and the evidence of its scores are found again.

    Raises:
        DataError: A model folder is missing.
        Exception: One of `store.tracking_errors()` when the store cannot be reached.
    """
    rows = {row["model"]: row for row in leaderboard.get("rows", [])}
    folders = [models / model for model in params.models]
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder} does not exist: run `dvc repro`, or take it out of register.models")
    if not tracking_enabled():
        return [_unregistered(folder, params) for folder in folders]
    client, experiment = open_store(MIRROR_EXPERIMENT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [_register(client, experiment, folder, params, rows, locked) for folder in folders]


def mirror_or_warn(
    models: Path, params: RegisterParams, leaderboard: Mapping[str, Any], locked: Locked
) -> list[RegisteredModel]:
    """Mirrors this result and registers its models; a store that fails only costs a warning.

    The result is whole without it, and `forgeline sync` mirrors and registers it when the store is there again.

    Raises:
        DataError: A model folder is missing.
    """
    if not tracking_enabled():
        return register_models(models, params, leaderboard, locked)
    try:
        sync_workspace()
        return register_models(models, params, leaderboard, locked)
    except tracking_errors() as error:
        announce_warning(f"nothing is mirrored or registered now, {tracking_uri()} fails: {reason(error)}")
        announce_fact("the result is complete; call `forgeline sync` when the store is there again")
        return [_unregistered(models / model, params) for model in params.models]


def register_present(models: Path, params: RegisterParams, leaderboard: Path, locked: Locked) -> list[RegisteredModel]:
    """Registers the models of `params.models` that lie here; `register_models` for a workspace that may be half there.

    Raises:
        Exception: One of `store.tracking_errors()` when the store cannot be reached.
    """
    present = [model for model in params.models if (models / model).is_dir()]
    if not present or not leaderboard.is_file():
        return []
    return register_models(models, params.model_copy(update={"models": present}), read_json(leaderboard), locked)


def _unregistered(folder: Path, params: RegisterParams) -> RegisteredModel:
    return RegisteredModel(f"{params.name}-{folder.name}", folder.as_posix(), sha256_path(folder), None, False)


def _register(
    client: "MlflowClient",
    experiment: str,
    folder: Path,
    params: RegisterParams,
    rows: Mapping[str, Any],
    locked: Locked,
) -> RegisteredModel:
    name = f"{params.name}-{folder.name}"
    digest = sha256_path(folder)
    version = _find(client, name, digest)
    is_new = version is None
    known = {**_pipeline_tags(folder, locked), **_score_tags(folder.name, rows)}
    if version is None:
        version = _create(client, experiment, name, {**_lineage_tags(folder), **known, CONTENT_TAG: digest})
    else:
        for tag, value in known.items():
            if version.tags.get(tag) != value:
                client.set_model_version_tag(name, version.version, tag, value)
    client.set_registered_model_alias(name, params.alias, version.version)
    return RegisteredModel(name, folder.as_posix(), digest, int(version.version), is_new)


def _find(client: "MlflowClient", name: str, digest: str) -> "ModelVersion | None":
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.tags.get(CONTENT_TAG) == digest:
            return version
    return None


def _create(client: "MlflowClient", experiment: str, name: str, tags: dict[str, str]) -> "ModelVersion":
    import mlflow

    model = mlflow.create_external_model(name=name, tags=tags, model_type="causal-lm", experiment_id=experiment)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    return client.create_model_version(name, f"models:/{model.model_id}", tags=tags, model_id=model.model_id)


def _lineage_tags(folder: Path) -> dict[str, str]:
    lineage = read_json(folder / "lineage.json") if (folder / "lineage.json").is_file() else {}
    parents = sorted(path for path in lineage.get("inputs", {}) if path.startswith("models/"))
    tags = {
        PATH_TAG: folder.as_posix(),
        "forgeline.stage": lineage.get("stage"),
        "forgeline.parents": ",".join(parents),
        "forgeline.tokenizer": lineage.get("tokenizer"),
        "forgeline.code_sha256": lineage.get("code_sha256"),
        "mlflow.source.git.commit": head_commit(),
    }
    return {name: str(value) for name, value in tags.items() if value}


def _pipeline_tags(folder: Path, locked: Locked) -> dict[str, str]:
    """What dvc.lock knows: the model's full name, DVC's hash of it, and that of the samples its scores rest on."""
    hashes = {out["path"]: str(out.get("md5", "")) for entry in locked.values() for out in entry.get("outs", [])}
    tags = {
        NAME_TAG: full_name(folder.name, locked, workspace().read),
        MODEL_HASH_TAG: hashes.get(folder.as_posix()),
        SAMPLES_TAG: hashes.get(samples_path(folder.name)),
    }
    return {name: value for name, value in tags.items() if value}


def _score_tags(model: str, rows: Mapping[str, Any]) -> dict[str, str]:
    """The model's scores on the leaderboard; none when it was not evaluated."""
    row = rows.get(model)
    if row is None:
        return {}
    scores = {name: score["value"] for name, score in row.get("scores", {}).items() if score}
    return {f"score.{name}": f"{value:.4f}" for name, value in scores.items()}
