"""align and reinforce: adapters on models/sft, what they claim computed once more with peft and transformers."""

import math
from statistics import mean, stdev

import pytest
import torch
from safetensors.torch import load_file

from tests.clone import Clone
from tests.pipeline.models import adapted_model, answered, nll, plain_tokenizer
from tests.pipeline.outputs import adapter_section, curve, history, params, rows

pytestmark = pytest.mark.slow

METHODS = ("dpo", "grpo")


@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_holds_lora_matrices_of_the_asked_rank_alone(smoke: Clone, method: str) -> None:
    lora = adapter_section(smoke, method)["lora"]
    weights = load_file(smoke.root / "models" / f"{method}_adapter" / "adapter_model.safetensors")
    num_layers = params(smoke)["model"]["num_hidden_layers"]
    assert len(weights) == 2 * num_layers * len(lora["target_modules"])
    for name, weight in weights.items():
        assert any(f".{module}.lora_" in name for module in lora["target_modules"])
        assert min(weight.shape) == lora["r"]


@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_has_learned(smoke: Clone, method: str) -> None:
    """B starts at zero, so an adapter that changes nothing has no B."""
    weights = load_file(smoke.root / "models" / f"{method}_adapter" / "adapter_model.safetensors")
    assert all(bool(weight.abs().max() > 0) for name, weight in weights.items() if "lora_B" in name)


def test_dpo_starts_as_its_reference(smoke: Clone) -> None:
    first = history(smoke, "dpo")[0]
    assert float(first["train_margin"]) == 0.0
    assert float(first["train_loss"]) > math.log(2)  # the chosen answers' own loss comes on top


def test_dpo_margins_are_those_of_plain_peft(smoke: Clone) -> None:
    """β (log π(chosen)/π_ref(chosen) - log π(rejected)/π_ref(rejected)): Rafailov et al. 2023, eq. 5."""
    knobs, tokenizer = params(smoke)["align"]["dpo"], plain_tokenizer(smoke, "dpo_adapter")
    model = adapted_model(smoke, "dpo_adapter")
    found = []
    for row in rows(smoke, "data/preferences/validation.parquet"):
        chats = [answered(tokenizer, row["prompt"], row[name]) for name in ("chosen", "rejected")]
        if max(len(ids) for ids, _ in chats) <= knobs["max_length"]:
            policy = [-nll(model, ids, first, "bf16") for ids, first in chats]
            with model.disable_adapter():
                reference = [-nll(model, ids, first, "bf16") for ids, first in chats]
            found.append(knobs["beta"] * ((policy[0] - policy[1]) - (reference[0] - reference[1])))
    scores = smoke.metrics("align/dpo")["validation"]
    assert scores["reward_margin"]["n"] == scores["reward_accuracy"]["n"] == len(found)
    assert scores["reward_margin"]["value"] == pytest.approx(mean(found), abs=5e-4)
    half_width = (scores["reward_margin"]["high"] - scores["reward_margin"]["low"]) / 2
    assert half_width == pytest.approx(1.96 * stdev(found) / len(found) ** 0.5, rel=0.25)
    assert scores["reward_accuracy"]["value"] == mean(margin > 0 for margin in found)


def test_dpo_pairs_that_do_not_fit_are_counted(smoke: Clone) -> None:
    limit, tokenizer = params(smoke)["align"]["dpo"]["max_length"], plain_tokenizer(smoke, "sft")
    too_long = sum(
        max(len(answered(tokenizer, row["prompt"], row[name])[0]) for name in ("chosen", "rejected")) > limit
        for split in ("train", "validation")
        for row in rows(smoke, f"data/preferences/{split}.parquet")
    )
    assert smoke.metrics("align/dpo")["records"]["dropped"] == {"too_long": too_long}


@pytest.mark.parametrize("method", METHODS)
def test_the_curve_has_every_step(smoke: Clone, method: str) -> None:
    knobs = adapter_section(smoke, method)
    assert [int(row["step"]) for row in history(smoke, method)] == list(range(1, knobs["num_steps"] + 1))
    rates = [value for _, value in curve(smoke, method, "learning_rate")]
    assert max(rates) == pytest.approx(knobs["learning_rate"])


@pytest.mark.parametrize("method", METHODS)
def test_the_adapter_changes_the_model_but_little(smoke: Clone, method: str) -> None:
    model, ids = adapted_model(smoke, f"{method}_adapter"), torch.arange(64)[None]
    with torch.no_grad():
        adapted = model(input_ids=ids).logits
        with model.disable_adapter():
            reference = model(input_ids=ids).logits
    assert 1e-4 < float((adapted - reference).abs().max()) < 1.0
