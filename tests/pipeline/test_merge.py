"""merge: plain weights that compute what the adapter on its parent computes."""

import pytest
import torch
from safetensors.torch import load_file

from tests.clone import Clone
from tests.pipeline.models import adapted_model, plain_model, plain_tokenizer, window
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
        for index in range(params(smoke)["merge"]["gate"]["num_windows"]):
            ids = window(smoke, "validation", index, length)[:, :-1]
            logits = merged(input_ids=ids).logits
            worst = max(worst, float((adapted(input_ids=ids).logits - logits).abs().max()))
            change = max(change, float((parent(input_ids=ids).logits - logits).abs().max()))
    assert worst <= 2e-5
    assert change > 100 * worst, "the adapter must matter, or the test shows nothing"
    reported = smoke.metrics(f"merge/{method}")["max_logit_difference"]
    assert reported <= params(smoke)["merge"]["gate"]["max_logit_difference"]
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


@pytest.mark.parametrize("method", METHODS)
def test_generation_stops_at_the_end_of_the_turn(smoke: Clone, method: str) -> None:
    """transformers alone, from the folder alone: its tokenizer renders the chat, its generation config stops."""
    model, tokenizer = plain_model(smoke, method), plain_tokenizer(smoke, method)
    assert set(model.generation_config.eos_token_id) == {tokenizer.eos_token_id, tokenizer.bos_token_id}
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id
    assert (smoke.root / "models" / f"{method}_adapter" / "adapter_model.safetensors").is_file(), "adapters are kept"
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ending = [[[tokenizer.eos_token_id], 1000.0]]  # makes it want to end its turn at once
    answer = model.generate(**chat, max_new_tokens=4, sequence_bias=ending)
    assert answer.shape[1] == chat["input_ids"].shape[1] + 1
