"""reinforce: what a run says about its own answers."""

import math

import pytest

from tests.clone import Clone
from tests.pipeline.outputs import history, params, rows

pytestmark = pytest.mark.slow


def test_grpo_starts_at_its_reference_and_asks_for_verifiable_answers(smoke: Clone) -> None:
    knobs, figures = params(smoke)["reinforce"]["grpo"], smoke.metrics("reinforce/grpo")
    first = history(smoke, "grpo")[0]
    assert abs(float(first["kl"])) < 1e-4
    assert float(first["clip_fraction"]) == 0.0
    asked = [row for row in rows(smoke, "data/instructions/train.parquet") if row["task"] in knobs["tasks"]]
    assert figures["num_train_prompts"] == len(asked)
    assert figures["num_rollouts"] == knobs["num_steps"] * knobs["prompts_per_step"] * knobs["group_size"]


def test_grpo_rewards_are_the_weighted_sum(smoke: Clone) -> None:
    weights = params(smoke)["reinforce"]["grpo"]["reward_weights"]
    for row in history(smoke, "grpo"):
        expected = weights["exact"] * float(row["exact"]) + weights["format"] * float(row["format"])
        assert float(row["reward"]) == pytest.approx(expected)
        assert 0 < float(row["output_tokens"]) <= params(smoke)["reinforce"]["grpo"]["max_new_tokens"]
        assert 0 < float(row["entropy"]) <= math.log(1024)
