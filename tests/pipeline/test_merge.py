"""merge: plain weights that compute what the adapter on its parent computes."""

import pytest
import torch
from safetensors.torch import load_file

from tests.clone import Clone
from tests.pipeline.models import adapted_model, plain_model, window
from tests.pipeline.outputs import adapter_section, params

pytestmark = pytest.mark.slow

METHODS = ("dpo", "grpo")


@pytest.mark.parametrize("method", METHODS)
def test_merged_logits_are_those_of_plain_peft(smoke: Clone, method: str) -> None:
    length = params(smoke)["pack"]["sequence_length"]
    adapted, merged = adapted_model(smoke, f"{method}_adapter"), plain_model(smoke, method)
    parent = plain_model(smoke, "sft")
    worst = change = 0.0
    with torch.no_grad():
        for index in range(params(smoke)["merge"]["num_probe_windows"]):
            ids = window(smoke, "validation", index, length)[:, :-1]
            logits = merged(input_ids=ids).logits
            worst = max(worst, float((adapted(input_ids=ids).logits - logits).abs().max()))
            change = max(change, float((parent(input_ids=ids).logits - logits).abs().max()))
    assert worst <= 2e-5
    assert change > 100 * worst, "the adapter must matter, or the test shows nothing"
    reported = smoke.metrics(f"merge/{method}")["max_logit_difference"]
    assert reported <= params(smoke)["merge"]["max_logit_difference"]
    assert reported == pytest.approx(worst, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_merged_weights_are_the_parents_plus_the_update(smoke: Clone, method: str) -> None:
    """W + alpha / r * B A for the adapted matrices, W for the rest."""
    lora = adapter_section(smoke, method)["lora"]
    update = load_file(smoke.root / "models" / f"{method}_adapter" / "adapter_model.safetensors")
    parent = load_file(smoke.root / "models" / "sft" / "model.safetensors")
    merged = load_file(smoke.root / "models" / method / "model.safetensors")
    assert merged.keys() == parent.keys()
    for name, weight in parent.items():
        prefix = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{prefix}.lora_A.weight" in update:
            a, b = update[f"{prefix}.lora_A.weight"], update[f"{prefix}.lora_B.weight"]
            torch.testing.assert_close(merged[name], weight + lora["alpha"] / lora["r"] * (b @ a), rtol=0, atol=1e-6)
        else:
            assert torch.equal(merged[name], weight)


@pytest.mark.parametrize("method", METHODS)
def test_tensors_of_the_adapter_are_counted_as_absorbed(smoke: Clone, method: str) -> None:
    update = load_file(smoke.root / "models" / f"{method}_adapter" / "adapter_model.safetensors")
    assert smoke.metrics(f"merge/{method}")["records"]["dropped"] == {"merged_into_weights": len(update)}
