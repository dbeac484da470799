"""quantize: transformers loads the models by itself, they are smaller, and their cost is measured and gated."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.clone import Clone
from tests.pipeline.models import nll, plain_model, window
from tests.pipeline.outputs import params

pytestmark = pytest.mark.slow

QUANTIZED = ("rtn_w8", "gptq_w4")


@pytest.mark.parametrize("name", QUANTIZED)
def test_the_cost_is_that_of_transformers(smoke: Clone, name: str) -> None:
    knobs, length = params(smoke)["quantize"][name], params(smoke)["pack"]["sequence_length"]
    facts = smoke.metrics("pack")["validation"]
    chosen = np.random.default_rng(knobs["seed"]).permutation(facts["num_windows"])[: knobs["gate"]["windows"]]
    windows = [window(smoke, "validation", int(index), length)[0].tolist() for index in chosen]
    bytes_per_token = facts["num_bytes"] / facts["num_tokens"]
    found = {}
    for moment, model in (("before", plain_model(smoke, "grpo")), ("after", plain_model(smoke, name))):
        loss = sum(nll(model, ids, 0) for ids in windows) / (len(windows) * length)
        found[moment] = loss / math.log(2) / bytes_per_token
    reported = smoke.metrics(f"quantize/{name}")["validation_bits_per_byte"]
    assert reported["before"] == pytest.approx(found["before"], abs=1e-5)
    assert reported["after"] == pytest.approx(found["after"], abs=1e-5)
    assert reported["increase"] == pytest.approx(reported["after"] - reported["before"], abs=1e-12)
    assert reported["increase"] <= knobs["gate"]["max_bits_per_byte_increase"]


@pytest.mark.parametrize("name", QUANTIZED)
def test_sizes_are_those_of_the_files(smoke: Clone, name: str) -> None:
    figures, knobs = smoke.metrics(f"quantize/{name}"), params(smoke)["quantize"][name]
    file = smoke.root / "models" / name / "model.safetensors"
    assert figures["size_bytes"] == file.stat().st_size
    assert file.stat().st_size < (smoke.root / "models" / "grpo" / "model.safetensors").stat().st_size / 2
    # A bf16 scale for every group, and two 64-bit numbers for every matrix's shape.
    shapes = figures["num_quantized_layers"] * 2 * 64 / figures["num_quantized_weights"]
    expected = knobs["bits"] + 16 / knobs["group_size"] + shapes
    assert figures["bits_per_quantized_weight"] == pytest.approx(expected)
    num_bits = 8 * sum(tensor.numel() * tensor.element_size() for tensor in load_file(file).values())
    assert figures["bits_per_weight"] == pytest.approx(num_bits / figures["num_parameters"])


def test_fewer_bits_make_a_smaller_model(smoke: Clone) -> None:
    assert smoke.metrics("quantize/gptq_w4")["size_bytes"] < smoke.metrics("quantize/rtn_w8")["size_bytes"]


@pytest.mark.parametrize("name", QUANTIZED)
def test_every_matrix_is_quantized_and_the_rest_is_kept(smoke: Clone, name: str) -> None:
    kept = load_file(smoke.root / "models" / name / "model.safetensors")
    for layer in range(params(smoke)["model"]["num_hidden_layers"]):
        for matrix in ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj"):
            assert kept[f"model.layers.{layer}.{matrix}.weight_packed"].dtype == torch.int32
            assert f"model.layers.{layer}.{matrix}.weight" not in kept
    plain = load_file(smoke.root / "models" / "grpo" / "model.safetensors")
    for tensor in ("model.embed_tokens.weight", "model.norm.weight"):
        assert torch.equal(kept[tensor], plain[tensor].to(torch.bfloat16))


def test_rounding_is_to_the_nearest_point_of_the_grid(smoke: Clone) -> None:
    """255 steps between -max and max of each group: errors are uniform in half a step, a quarter of a step on average.

    Rounding scales and products to bf16 adds up to a quarter of a step each for the largest weights.
    """
    knobs = params(smoke)["quantize"]["rtn_w8"]
    before, after = plain_model(smoke, "grpo"), plain_model(smoke, "rtn_w8")
    length = params(smoke)["pack"]["sequence_length"]
    with torch.no_grad():  # the first forward unpacks the weights
        after(input_ids=window(smoke, "validation", 0, length))
    unpacked = dict(after.named_parameters())
    for name in ("model.layers.0.mlp.down_proj.weight", "model.layers.1.self_attn.q_proj.weight"):
        weight = before.state_dict()[name]
        groups = weight.reshape(weight.shape[0], -1, knobs["group_size"])
        steps = 2 * groups.abs().amax(dim=2, keepdim=True) / (2 ** knobs["bits"] - 1)
        errors = (unpacked[name].reshape(groups.shape) - groups).abs() / steps
        assert float(errors.mean()) == pytest.approx(0.25, abs=0.02)
        assert float(errors.max()) <= 1.0


def test_calibration_is_named_where_there_was_one(smoke: Clone) -> None:
    assert smoke.metrics("quantize/rtn_w8")["calibration_sha256"] is None
    digest = smoke.metrics("quantize/gptq_w4")["calibration_sha256"]
    assert len(digest) == 64
    assert smoke.metrics("quantize/gptq_w4")["tag"].endswith(f"_cal{digest[:12]}_seed17")
