"""reward: transformers loads the classifier by itself and ranks the held-out pairs as reported."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests.clone import Clone
from tests.pipeline.models import answered, plain_tokenizer
from tests.pipeline.outputs import curve, history, params, rows

pytestmark = pytest.mark.slow


@torch.no_grad()
def margins(run: Clone, split: str) -> list[float]:
    """r(chosen) - r(rejected) of the pairs that fit, one sequence at a time."""
    knobs, tokenizer = params(run)["reward"], plain_tokenizer(run, "reward")
    folder = str(run.root / "models" / "reward")
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    found = []
    for row in rows(run, f"data/preferences/{split}.parquet"):
        pair = [answered(tokenizer, row["prompt"], row[name])[0] for name in ("chosen", "rejected")]
        if max(map(len, pair)) <= knobs["max_length"]:
            chosen, rejected = (float(model(input_ids=torch.tensor([ids])).logits) for ids in pair)
            found.append(chosen - rejected)
    return found


def test_held_out_pairs_are_ranked_as_reported(smoke: Clone) -> None:
    figures = smoke.metrics("reward")["test"]
    found = margins(smoke, "test")
    assert figures["pair_accuracy"]["n"] == len(found)
    assert figures["mean_margin"]["value"] == pytest.approx(sum(found) / len(found), abs=2e-3)
    # The stage computes under bf16 autocast: margins within its rounding may change sides.
    sure = [margin > 0 for margin in found if abs(margin) > 5e-3]
    unsure = len(found) - len(sure)
    assert sum(sure) <= figures["pair_accuracy"]["value"] * len(found) <= sum(sure) + unsure
    assert len(sure) >= len(found) / 2


def test_pairs_that_do_not_fit_are_counted(smoke: Clone) -> None:
    knobs, tokenizer = params(smoke)["reward"], plain_tokenizer(smoke, "reward")
    too_long = sum(
        max(len(answered(tokenizer, row["prompt"], row[name])[0]) for name in ("chosen", "rejected"))
        > knobs["max_length"]
        for split in ("train", "validation", "test")
        for row in rows(smoke, f"data/preferences/{split}.parquet")
    )
    assert smoke.metrics("reward")["records"]["dropped"]["too_long"] == too_long


def test_the_curve_has_every_step(smoke: Clone) -> None:
    knobs = params(smoke)["reward"]
    assert [int(row["step"]) for row in history(smoke, "reward")] == list(range(knobs["num_steps"] + 1))
    measured = [step for step, _ in curve(smoke, "reward", "validation_loss")]
    assert measured == [0, *range(knobs["eval_every_steps"], knobs["num_steps"] + 1, knobs["eval_every_steps"])]
    assert curve(smoke, "reward", "validation_loss")[0][1] == smoke.metrics("reward")["before"]["validation_loss"]
