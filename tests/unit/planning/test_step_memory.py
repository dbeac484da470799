"""The estimate of a step's memory against torch's own tracker on a real step with real tensors."""

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from tests.unit.model.shapes import POSITIONS, VOCABULARY, Vocabulary, decoder_params
from tests.unit.model.test_families import FAMILIES, family
from tests.unit.training.toys import OPTIMIZERS
from torch.distributed._tools.mem_tracker import MemTracker

from forgeline.model.build import build_model
from forgeline.model.compute import autocast
from forgeline.model.params import Architecture, ComputeParams
from forgeline.planning.live_memory import LiveMemory
from forgeline.planning.step_memory import StepShape, step_memory
from forgeline.training.loop.optimizers.build import build_optimizers, clip_gradients
from forgeline.training.loop.optimizers.params import OptimizerParams
from forgeline.training.loop.optimizers.sophia import Sophia
from forgeline.training.pretraining.network import LossNetwork

SMALL = decoder_params(hidden_size=64, intermediate_size=160, num_hidden_layers=3, max_position_embeddings=128)
LARGE = decoder_params(
    hidden_size=128, intermediate_size=512, num_hidden_layers=4, positions=POSITIONS["alibi"], norm="layernorm",
    activation="gelu", dropout=0.1, tie_word_embeddings=False, max_position_embeddings=128,
)  # fmt: skip
SHAPE = StepShape(
    micro_batch_size=4, sequence_length=128, gradient_accumulation_steps=1, gradient_checkpointing=False
)  # fmt: skip
CPU = torch.device("cpu")


def optimizer(name: str) -> Any:
    return TypeAdapter(OptimizerParams).validate_python(OPTIMIZERS[name])


def compute(precision: Any) -> ComputeParams:
    return ComputeParams(num_threads=1, precision=precision)


def measured_peak(params: Architecture, knobs: Any, precision: ComputeParams, shape: StepShape) -> int:
    """What torch's tracker saw at most in two steps of training as the loop takes them."""
    model = build_model(params, Vocabulary()).train()
    optimizers = build_optimizers(knobs, model)
    network = LossNetwork(model)
    if shape.gradient_checkpointing:
        network.model.activation_checkpointing_enable()
    tracker = MemTracker()
    tracker.track_external(model, *optimizers)
    ids = torch.randint(0, VOCABULARY, (shape.micro_batch_size, shape.sequence_length))

    def accumulate(draw: bool) -> None:
        for _ in range(shape.gradient_accumulation_steps):
            tracker.reset_mod_stats()
            with autocast(CPU, precision):
                loss = network(ids, torch.rand(ids.shape) if draw else None, input_ids=ids)
            (loss / ids.numel()).backward()

    with tracker:
        for _ in range(2):
            for each in optimizers:
                if isinstance(each, Sophia):
                    accumulate(draw=True)
                    each.update_hessian(num_labels=ids.numel())
                    each.zero_grad()
            accumulate(draw=False)
            clip_gradients(model.parameters(), 1.0)
            for each in optimizers:
                each.step()
                each.zero_grad()
    return int(tracker.get_tracker_snapshot("peak")[CPU]["Total"])


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("params", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_peak_is_the_measured_one(name: str, params: Architecture, precision: str, checkpointing: bool) -> None:
    shape = StepShape(4, 128, 1, checkpointing)
    estimate = step_memory(params, VOCABULARY, optimizer(name), compute(precision), shape)
    assert estimate is not None
    assert estimate.peak == pytest.approx(measured_peak(params, optimizer(name), compute(precision), shape), rel=0.02)


def test_the_peak_of_the_usual_step_is_the_measured_one() -> None:
    estimate = step_memory(SMALL, VOCABULARY, optimizer("muon"), compute("bf16"), SHAPE)
    assert estimate is not None
    assert estimate.peak == pytest.approx(measured_peak(SMALL, optimizer("muon"), compute("bf16"), SHAPE), rel=0.02)


@pytest.mark.parametrize("steps", [2, 3])
def test_gradients_stay_while_micro_batches_are_accumulated(steps: int) -> None:
    shape = StepShape(4, 128, steps, False)
    estimate = step_memory(LARGE, VOCABULARY, optimizer("adamw"), compute("fp32"), shape)
    assert estimate is not None
    assert estimate.peak == pytest.approx(measured_peak(LARGE, optimizer("adamw"), compute("fp32"), shape), rel=0.02)


@pytest.mark.filterwarnings("ignore:Module is None:UserWarning")  # of the tracker, for Mamba
@pytest.mark.parametrize("name", ["qwen3", "gemma2", "mamba2"])
def test_other_families_are_measured_the_same_way(name: str) -> None:
    params, shape = family(name, **FAMILIES[name]), StepShape(2, 32, 1, False)
    estimate = step_memory(params, VOCABULARY, optimizer("adamw"), compute("fp32"), shape)
    assert estimate is not None
    measured = measured_peak(params, optimizer("adamw"), compute("fp32"), shape)
    assert estimate.peak == pytest.approx(measured, rel=0.02)


def test_where_a_router_decides_there_is_no_estimate() -> None:
    params = family("mixtral", **FAMILIES["mixtral"])
    assert step_memory(params, VOCABULARY, optimizer("adamw"), compute("fp32"), SHAPE) is None


def test_the_parts_are_what_they_say() -> None:
    """A model of n float32 weights: AdamW keeps two numbers for each, and one count for each tensor."""
    model = build_model(SMALL, Vocabulary())
    num_weights = sum(parameter.numel() for parameter in model.parameters())
    found = step_memory(SMALL, VOCABULARY, optimizer("adamw"), compute("fp32"), SHAPE)
    assert found is not None
    rotation = 4 * 8 * 2  # bytes of the rotary frequencies that a Llama keeps, twice
    assert found.weights == 4 * num_weights + rotation
    assert found.gradients == 4 * num_weights
    assert found.optimizer == 8 * num_weights + 4 * len(list(model.parameters()))
    assert found.peak > found.weights + found.optimizer + found.activations


def test_checkpointing_and_bfloat16_keep_less() -> None:
    def activations(precision: str, checkpointing: bool) -> int:
        shape = StepShape(16, 128, 1, checkpointing)
        found = step_memory(SMALL, VOCABULARY, optimizer("adamw"), compute(precision), shape)
        assert found is not None
        return found.activations

    assert activations("fp32", True) < 0.3 * activations("fp32", False)
    assert activations("bf16", False) < 0.9 * activations("fp32", False)


def test_live_memory_counts_storages_once_and_until_they_are_freed() -> None:
    with LiveMemory() as live:
        first = torch.zeros(1000)
        view = first.view(10, 100)[2:]
        assert (live.num_bytes, live.peak_bytes) == (4000, 4000)
        second = torch.zeros(500, dtype=torch.float64)
        del second
        assert (live.num_bytes, live.peak_bytes) == (4000, 8000)
        del first
        assert live.num_bytes == 4000, "the view still holds it"
        del view
        assert (live.num_bytes, live.peak_bytes) == (0, 8000)
