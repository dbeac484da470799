import pytest
import torch
from peft import LoraConfig, get_peft_model

from forgeline.model.build import build_model
from forgeline.model.params import ModelParams
from forgeline.training.pretraining import figures as module
from forgeline.training.pretraining.figures import Peak, Speed, flops_per_token, peak_memory_megabytes, peak_of

CPU = torch.device("cpu")


@pytest.mark.parametrize("tied", [True, False])
def test_flops_are_those_of_every_matrix_product(tiny_architecture: ModelParams, tokenizer, tied: bool) -> None:
    model = build_model(tiny_architecture.model_copy(update={"tie_word_embeddings": tied}), tokenizer)
    # Per layer: queries and output 16 x 16, keys and values 16 x 8, three 16 x 24; the head 300 x 16; norms by element.
    weights = 2 * (2 * 256 + 2 * 128 + 3 * 384) + 300 * 16 + 5 * 16
    attention = 12 * 2 * 16 * 40
    assert flops_per_token(model, 40) == 6 * weights + attention


def test_frozen_weights_have_no_gradient_to_compute(tiny_architecture: ModelParams, tokenizer) -> None:
    model = build_model(tiny_architecture, tokenizer)
    whole = flops_per_token(model, 40)
    adapter = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    num_weights, trained = sum(weights.numel() for weights in model.parameters()), 2 * 2 * (16 + 16)
    assert flops_per_token(adapter, 40) == whole - 2 * (num_weights - trained) + 6 * trained


def test_flops_agree_with_those_that_torch_counts(tiny_architecture: ModelParams, tokenizer) -> None:
    """But for what torch does not count: norms, and the attention of a CPU."""
    from torch.utils.flop_counter import FlopCounterMode

    model = build_model(tiny_architecture, tokenizer)
    ids = torch.arange(32)[None]
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, use_cache=False).logits.sum().backward()
    norms, attention = 6 * 5 * 16, 12 * 2 * 16 * 32
    assert counter.get_total_flops() / 32 == flops_per_token(model, 32) - norms - attention


def test_the_peak_of_a_processor_is_measured() -> None:
    peak = peak_of(CPU, torch.float32)
    assert peak.origin == "measured on cpu, float32"
    assert 1e8 < peak.flops_per_second < 1e14


@pytest.mark.parametrize(
    ("name", "flops"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A10G", 70e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
    ],
)
def test_the_peak_of_known_gpus_is_looked_up(monkeypatch: pytest.MonkeyPatch, name: str, flops: float) -> None:
    monkeypatch.setattr(module.torch.cuda, "get_device_name", lambda device: name)
    assert peak_of(torch.device("cuda"), torch.bfloat16).flops_per_second == flops


def test_the_figures_of_a_step_by_hand() -> None:
    figures = Speed(6e9, 1000, Peak(1e9, "x"), 4, CPU).figures(2.0)
    assert figures["tokens_per_second"] == 500
    assert figures["model_flops_utilization"] == 0.75
    assert figures["peak_memory_megabytes"] == peak_memory_megabytes(CPU)


def test_measuring_the_peak_draws_no_random_numbers() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    peak_of(CPU, torch.bfloat16)
    assert torch.equal(torch.get_rng_state(), before)


def test_memory_grows_with_what_is_held() -> None:
    before = peak_memory_megabytes(CPU)
    held = torch.ones(64 * 1024**2 // 4)
    assert peak_memory_megabytes(CPU) >= before
    assert peak_memory_megabytes(CPU) > held.numel() * 4 / 1024**2
