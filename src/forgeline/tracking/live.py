"""Training curves in MLflow while a stage trains. Tracking never fails a training run and never changes its bytes."""

import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from forgeline.core.errors import StopRequested
from forgeline.tracking.batches import log_params
from forgeline.tracking.store import (
    LIVE_EXPERIMENT,
    open_store,
    reason,
    tracking_enabled,
    tracking_errors,
    tracking_uri,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

FINGERPRINT_TAG = "forgeline.fingerprint"
_FLUSH_SECONDS = 1.0  # one sqlite write costs about 10 ms, so logging takes about 1 % of the time at worst
_FLUSH_METRICS = 500  # MLflow takes at most 1,000 in one call


class LiveRun:
    """The MLflow run of one training stage, as a context manager.

    A stage that is killed and run again has the same fingerprint and continues the same run; steps that are already
    there are not logged twice.
    """

    def __init__(self, address: str, params: Mapping[str, Any], fingerprint: str) -> None:
        """Names the run; nothing is opened yet.

        Args:
            address: DVC's name of the stage; the run is called the same.
            params: The stage's params (nested mappings are flattened).
            fingerprint: `StageRun.fingerprint()`: the identity of the work.
        """
        self._address = address
        self._params = params
        self._fingerprint = fingerprint
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._last_step: dict[str, int] = {}
        self._pending: list[Metric] = []
        self._flushed_at = 0.0

    def __enter__(self) -> "LiveRun":
        if tracking_enabled():
            with _aside(self._give_up):
                self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()
        if self._client is None:
            return
        status = "FINISHED" if kind is None else "KILLED" if issubclass(kind, StopRequested) else "FAILED"
        with _aside(self._give_up):
            self._client.set_terminated(self._run_id, status)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Notes the metrics of one step; they are written about once a second."""
        if self._client is None:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        fresh = {name: value for name, value in metrics.items() if step > self._last_step.get(name, -1)}
        self._pending += [Metric(name, float(value), now, step) for name, value in fresh.items()]
        if len(self._pending) >= _FLUSH_METRICS or time.monotonic() - self._flushed_at >= _FLUSH_SECONDS:
            self._flush()

    def _open(self) -> None:
        client, experiment = open_store(LIVE_EXPERIMENT)
        known = client.search_runs([experiment], f"tags.`{FINGERPRINT_TAG}` = '{self._fingerprint}'", max_results=1)
        if known:
            self._run_id = known[0].info.run_id
            client.update_run(self._run_id, status="RUNNING")
            for name in known[0].data.metrics:
                self._last_step[name] = max(point.step for point in client.get_metric_history(self._run_id, name))
        else:
            tags = {FINGERPRINT_TAG: self._fingerprint, "forgeline.stage": self._address}
            self._run_id = client.create_run(experiment, run_name=self._address, tags=tags).info.run_id
            log_params(client, self._run_id, self._params)
        self._flushed_at = time.monotonic()
        self._client = client

    def _flush(self) -> None:
        if self._client is None or not self._pending:
            return
        with _aside(self._give_up):
            self._client.log_batch(self._run_id, metrics=self._pending)
        self._pending = []
        self._flushed_at = time.monotonic()

    def _give_up(self, error: Exception) -> None:
        self._client = None
        sys.stderr.write(f"forgeline: training goes on without tracking, {tracking_uri()} fails: {reason(error)}\n")


@contextmanager
def _aside(give_up: Callable[[Exception], None]) -> Iterator[None]:
    """Runs tracking work so that its errors only end the tracking.

    Python's random state is put back: MLflow draws names and waiting times from it, which would make the training
    result depend on whether it is tracked.
    """
    state = random.getstate()
    try:
        yield
    except tracking_errors() as error:
        give_up(error)
    finally:
        random.setstate(state)
