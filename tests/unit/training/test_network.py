"""The network that training runs: its loss, its bfloat16 copy, compiling and checkpointing."""

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from forgeline.training.loop.optimizers.build import build_optimizers
from forgeline.training.pretrain import pretrain
from forgeline.training.pretraining.network import Computation, LossNetwork, WorkingCopy

IDS = torch.arange(24).reshape(2, 12) % 50
LABELS = (IDS + 1) % 50


def _run(model, packed, params, accelerator, folder: Path) -> list[Any]:  # type: ignore[no-untyped-def]
    result = pretrain(
        model,
        packed["train"],
        packed["validation"],
        params,
        accelerator=accelerator,
        checkpoints=folder,
        log=lambda step, figures: None,
    )
    return [row["train_loss"] for row in result.history[1:]]


def test_the_loss_is_the_librarys_own_with_and_without_blocks(tiny_model) -> None:
    model = tiny_model(0)
    logits = model(input_ids=IDS).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), LABELS.flatten(), reduction="sum")
    for is_blockwise in (True, False):
        network = LossNetwork(model, is_blockwise)
        assert network(LABELS, input_ids=IDS).item() == pytest.approx(expected.item(), rel=1e-5)
        assert torch.equal(network(None, input_ids=IDS), logits)


def test_a_working_copy_computes_in_bfloat16_and_leaves_the_masters_their_precision(tiny_model) -> None:
    model = tiny_model(0)
    working = WorkingCopy(model, copy.deepcopy(model))
    frequencies = working.model.model.rotary_emb.inv_freq
    assert {value.dtype for value in working.model.parameters()} == {torch.bfloat16}
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert torch.equal(frequencies, model.model.rotary_emb.inv_freq)
    assert frequencies.dtype == torch.float32
    assert working.model.lm_head.weight is working.model.model.embed_tokens.weight  # as in the model


def test_gradients_of_several_passes_add_up_in_float32(tiny_model) -> None:
    model = tiny_model(0)
    working = WorkingCopy(model, copy.deepcopy(model))
    network, single = LossNetwork(working.model), []
    for _ in range(3):
        network(LABELS, input_ids=IDS).backward()
        single.append({name: value.grad.float() for name, value in working.model.named_parameters()})
        working.hand_over_gradients()
    for name, value in model.named_parameters():
        assert value.grad.dtype == torch.float32
        torch.testing.assert_close(value.grad, single[0][name] + single[1][name] + single[2][name], rtol=0, atol=0)
    assert all(value.grad is None for value in working.model.parameters())


def test_steps_smaller_than_bfloat16_resolves_are_not_lost(tiny_model) -> None:
    model = tiny_model(0)
    working = WorkingCopy(model, copy.deepcopy(model))
    weight, seen = model.model.norm.weight, working.model.model.norm.weight
    before = seen.clone()
    with torch.no_grad():
        for _ in range(100):
            weight += 1e-4  # bfloat16 resolves 1 to 0.004
            working.update()
    assert weight[0].item() == pytest.approx(1.01, rel=1e-4)
    assert seen[0].item() > before[0].item()


def test_training_in_bfloat16_follows_training_in_float32(
    tiny_model, packed, pretrain_params, accelerator, tmp_path: Path
) -> None:
    params = pretrain_params(num_steps=20)
    losses = {
        precision: _run(tiny_model(7), packed, params, accelerator(precision), tmp_path / precision)
        for precision in ("fp32", "bf16")
    }
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)
    assert losses["bf16"] != losses["fp32"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_checkpointing_computes_the_same_again(
    tiny_model, packed, pretrain_params, accelerator, tmp_path: Path, precision: str
) -> None:
    losses = [
        _run(
            tiny_model(7),
            packed,
            pretrain_params(gradient_checkpointing=on),
            accelerator(precision),
            tmp_path / f"{on}",
        )
        for on in (False, True)
    ]
    assert losses[0] == losses[1]


def test_checkpointing_keeps_less_for_the_way_back(tiny_model, pretrain_params, accelerator) -> None:
    def kept(on: bool) -> int:
        model, params = tiny_model(0), pretrain_params(gradient_checkpointing=on)
        optimizers = build_optimizers(params.optimizer, model)
        computation = Computation(model, optimizers, params, accelerator("fp32"))
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda value: sizes.append(value.nbytes) or value, lambda v: v):
            computation.network(LABELS, input_ids=IDS)
        return sum(sizes)

    assert kept(True) < kept(False) / 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for CPUs with g++, which is not installed")
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_compiled_model_learns_the_same(
    tiny_model, packed, pretrain_params, accelerator, tmp_path: Path, precision: str
) -> None:
    losses = [
        _run(tiny_model(7), packed, pretrain_params(compile=on), accelerator(precision), tmp_path / f"{on}")
        for on in (False, True)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4 if precision == "fp32" else 5e-3)
