"""The network that training runs: its loss, precision, compiling and checkpointing."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from forgeline.training.loop.optimizers.build import build_optimizers
from forgeline.training.pretrain import pretrain
from forgeline.training.pretraining.network import Computation, LossNetwork

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
        computation = Computation(model, optimizers, params, accelerator("fp32"), float16=False)
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
