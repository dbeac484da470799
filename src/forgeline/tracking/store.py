"""Where runs are tracked, and opening it safely.

The default is an sqlite file at the root of the repository (of the original one inside `dvc exp run --temp`), and
`MLFLOW_TRACKING_URI` names any other store. `FORGELINE_TRACKING=off` switches tracking off: MLflow is then not even
imported. Everything of MLflow is imported inside functions, because that import costs two seconds.
"""

import fcntl
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from forgeline.core.errors import ForgelineError
from forgeline.core.process import is_main_process

if TYPE_CHECKING:
    from mlflow import MlflowClient

SWITCH_VARIABLE = "FORGELINE_TRACKING"
URI_VARIABLE = "MLFLOW_TRACKING_URI"
MIRROR_EXPERIMENT = "forgeline"  # one parent run per pipeline result, one child per stage: written by `sync`
LIVE_EXPERIMENT = "forgeline-live"  # curves of training stages while they run: written by `LiveRun`


def tracking_enabled() -> bool:
    """False when the environment says `FORGELINE_TRACKING=off`, and in all but the main of several processes."""
    return is_main_process() and os.environ.get(SWITCH_VARIABLE, "on").lower() not in {"off", "0", "false", "no"}


def repository_root() -> Path:
    """Absolute root of the repository that owns the store; DVC names it when it works in a copy."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def tracking_uri() -> str:
    """The URI of the store: the environment's, else sqlite under the repository root."""
    return os.environ.get(URI_VARIABLE) or f"sqlite:///{repository_root() / 'mlflow.db'}"


def tracking_errors() -> tuple[type[Exception], ...]:
    """What a store that is down, locked or full raises. Errors of `requests` are OSErrors."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, OSError, SQLAlchemyError)


@contextmanager
def explain_store_errors() -> Iterator[None]:
    """Turns errors of the store into one message, for callers that cannot do without it.

    Raises:
        ForgelineError: The store failed; says which one and what to do.
    """
    if not tracking_enabled():
        yield
        return
    try:
        yield
    except tracking_errors() as error:
        advice = f"start the server, correct {URI_VARIABLE}, or set {SWITCH_VARIABLE}=off"
        raise ForgelineError(f"the tracking store {tracking_uri()} fails ({reason(error)}): {advice}") from None


def reason(error: Exception) -> str:
    """The first line of an error of the store, shortened: network errors run over several hundred characters."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


def open_store(experiment: str) -> tuple["MlflowClient", str]:
    """A client of the store and the id of `experiment`, which is made if need be.

    Opening happens under a file lock: the first use of an sqlite store runs its migrations, and two processes doing
    that at once corrupt it.

    Raises:
        Exception: One of `tracking_errors()` when the store cannot be reached.
    """
    _quiet()
    with store_lock("open"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow

        mlflow.set_tracking_uri(tracking_uri())
        client = mlflow.MlflowClient()
        found = client.get_experiment_by_name(experiment)
        if found is not None:
            return client, str(found.experiment_id)
        local = tracking_uri().startswith("sqlite:")
        artifacts = (repository_root() / "mlruns").as_uri() if local else None
        return client, str(client.create_experiment(experiment, artifact_location=artifacts))


@contextmanager
def store_lock(purpose: str) -> Iterator[None]:
    """Holds the repository's lock on one kind of work with the store, across processes."""
    folder = repository_root() / ".dvc" / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"forgeline-tracking-{purpose}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _quiet() -> None:
    """No telemetry, no chatter, and no minutes of retries when a server is down. The user's own settings win."""
    settings = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "ERROR",
        "MLFLOW_PRINT_MODEL_URLS_ON_CREATION": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
