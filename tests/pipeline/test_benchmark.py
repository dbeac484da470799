"""benchmark: measured times that make sense, of the models asked for."""

import math

import pytest

from tests.clone import Clone
from tests.pipeline.outputs import params

pytestmark = pytest.mark.slow


def test_the_models_asked_for_are_measured_and_no_others(smoke: Clone) -> None:
    found = {path.stem for path in (smoke.root / "metrics" / "benchmark").iterdir()}
    assert found == set(params(smoke)["benchmark"]["models"])


def test_times_are_consistent(smoke: Clone) -> None:
    workload = params(smoke)["benchmark"]["workload"]
    for model in params(smoke)["benchmark"]["models"]:
        figures = smoke.metrics(f"benchmark/{model}")
        latency = figures["latency_seconds"]
        assert figures["model"] == model
        assert 0 < latency["median"] <= latency["p95"]
        assert 0 < latency["mean"] < 60
        assert 0 < figures["load_seconds"] < 60
        assert math.isfinite(figures["tokens_per_second"])
        # All prompts in one batch take no longer than a generous multiple of one after the other.
        one_by_one = workload["max_new_tokens"] / latency["mean"]
        assert figures["tokens_per_second"] > one_by_one / 5
        assert 50e6 < figures["peak_memory_bytes"] < 20e9


def test_the_size_is_that_of_the_weights(smoke: Clone) -> None:
    for model in params(smoke)["benchmark"]["models"]:
        size = (smoke.root / "models" / model / "model.safetensors").stat().st_size
        assert smoke.metrics(f"benchmark/{model}")["size_bytes"] == size


def test_the_workload_is_counted(smoke: Clone) -> None:
    for model in params(smoke)["benchmark"]["models"]:
        assert (
            smoke.metrics(f"benchmark/{model}")["records"]["out"]
            == params(smoke)["benchmark"]["workload"]["num_prompts"]
        )
