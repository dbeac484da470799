"""pretrain: transformers loads the base model by itself and measures the loss that the stage reports."""

import math

import pytest
from safetensors.torch import load_file

from tests.clone import Clone
from tests.pipeline.models import nll, plain_model, window
from tests.pipeline.outputs import curve, history, params

pytestmark = pytest.mark.slow


def test_the_validation_loss_is_that_of_transformers(smoke: Clone) -> None:
    length, count = params(smoke)["pack"]["sequence_length"], params(smoke)["pretrain"]["eval_windows"]
    model = plain_model(smoke, "base")
    windows = [window(smoke, "validation", index, length)[0].tolist() for index in range(count)]
    reported = smoke.metrics("pretrain")["final"]["validation_loss"]
    for precision, tolerance in (("bf16", 2e-3), ("fp32", 1e-2)):  # training measures under bf16 autocast
        loss = sum(nll(model, ids, 0, precision) for ids in windows) / (count * length)
        assert reported == pytest.approx(loss, abs=tolerance)


def test_it_learns_from_a_uniform_start(smoke: Clone) -> None:
    figures = smoke.metrics("pretrain")
    assert figures["untrained"]["validation_loss"] == pytest.approx(math.log(1024), abs=0.1)
    assert figures["final"]["validation_loss"] < figures["untrained"]["validation_loss"] - 0.3
    losses = [value for _, value in curve(smoke, "pretrain", "train_loss")]
    assert losses[0] == pytest.approx(math.log(1024), abs=0.1)
    assert losses[-1] < losses[0] - 0.3


def test_figures_follow_from_each_other(smoke: Clone) -> None:
    figures, knobs, facts = smoke.metrics("pretrain"), params(smoke)["pretrain"], smoke.metrics("pack")
    length = params(smoke)["pack"]["sequence_length"]
    num_windows = knobs["num_steps"] * knobs["micro_batch_size"] * knobs["gradient_accumulation_steps"]
    assert figures["num_tokens_seen"] == num_windows * length
    assert figures["equivalent_epochs"] == pytest.approx(num_windows / facts["train"]["num_windows"])
    weights = load_file(smoke.root / "models" / "base" / "model.safetensors")
    assert figures["num_parameters"] == sum(weight.numel() for weight in weights.values())
    for moment in ("untrained", "final"):
        loss = figures[moment]["validation_loss"]
        assert figures[moment]["validation_perplexity"] == pytest.approx(math.exp(loss))
        bytes_per_token = facts["validation"]["num_bytes"] / facts["validation"]["num_tokens"]
        assert figures[moment]["validation_bits_per_byte"] == pytest.approx(loss / math.log(2) / bytes_per_token)


def test_the_curve_has_every_step_and_validation_where_asked(smoke: Clone) -> None:
    knobs = params(smoke)["pretrain"]
    rows = history(smoke, "pretrain")
    assert [int(row["step"]) for row in rows] == list(range(knobs["num_steps"] + 1))
    assert (rows[0]["train_loss"], rows[0]["learning_rate"]) == ("", "")
    measured = [step for step, _ in curve(smoke, "pretrain", "validation_loss")]
    assert measured == [0, *range(knobs["eval_every_steps"], knobs["num_steps"] + 1, knobs["eval_every_steps"])]
    assert curve(smoke, "pretrain", "validation_loss")[-1][1] == smoke.metrics("pretrain")["final"]["validation_loss"]


def test_the_learning_rate_warms_up_and_follows_a_cosine(smoke: Clone) -> None:
    knobs = params(smoke)["pretrain"]
    peak, schedule = knobs["optimizer"]["learning_rate"], knobs["schedule"]
    floor, warm = schedule["min_learning_rate_fraction"], schedule["warmup_steps"]
    rates = [value for _, value in curve(smoke, "pretrain", "learning_rate")]
    assert rates[:warm] == pytest.approx([peak * (step + 1) / warm for step in range(warm)])
    rest = knobs["num_steps"] - warm
    expected = [peak * (floor + (1 - floor) * (1 + math.cos(math.pi * step / rest)) / 2) for step in range(rest)]
    assert rates[warm:] == pytest.approx(expected)
