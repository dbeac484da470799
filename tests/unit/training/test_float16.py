"""Pretraining in float16: as float32 up to rounding, whatever overflows on the way."""

import math

import pytest
import torch
from tests.unit.training.runs import Killed, at, kill, same_bytes
from tests.unit.training.toys import OPTIMIZERS
from torch import nn

from forgeline.core.errors import ForgelineError, ParamsError
from forgeline.model.params import ComputeParams
from forgeline.training.loop import loss_scale
from forgeline.training.loop.loss_scale import LossScale
from forgeline.training.pretraining.launch import make_accelerator


def losses(result) -> list[float]:
    return [row["train_loss"] for row in result.history[1:]]


def test_losses_are_those_of_float32_up_to_rounding(train) -> None:
    exact, half = losses(train()[1]), losses(train(precision="fp16", scratch="half")[1])
    assert half != exact
    assert half == pytest.approx(exact, rel=5e-3)


def test_a_step_that_overflows_is_computed_again(train, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = losses(train(precision="fp16", scratch="usual")[1])
    monkeypatch.setattr(loss_scale, "_FIRST_SCALE", 2.0**40)
    assert losses(train(precision="fp16", scratch="high")[1]) == pytest.approx(usual, rel=5e-3)


def test_a_killed_run_goes_on_with_the_scale_it_had(train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_scale, "_FIRST_SCALE", 2.0**40)
    whole, _ = train(precision="fp16", scratch="undisturbed")
    with pytest.raises(Killed):
        train(precision="fp16", log=at(5, kill))
    assert same_bytes(whole, train(precision="fp16")[0])


def test_what_no_scale_can_mend_still_stops_the_run(train) -> None:
    def broken(network: nn.Module, batch) -> tuple[torch.Tensor, int, dict[str, torch.Tensor]]:
        loss = network(batch.labels, **batch.inputs)
        return loss + (loss * math.inf - loss * math.inf), batch.num_supervised, {}

    with pytest.raises(ForgelineError, match=r"the loss became nan at step 0"):
        train(precision="fp16", objective=broken)


def test_the_scale_follows_the_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_scale, "_STEPS_TO_GROW", 2)
    scale = LossScale(enabled=True)
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([65536.0, -131072.0])
    scale.unscale([weight])
    assert weight.grad.tolist() == [1.0, -2.0]
    assert scale.lower()
    assert scale.factor == 2.0**15
    scale.note_step()
    assert scale.factor == 2.0**15
    copy = LossScale(enabled=True)
    copy.restore(scale.state())
    copy.note_step()
    assert copy.factor == 2.0**16
    copy.factor = 1.0
    assert not copy.lower()


def test_deepspeed_is_refused(pretrain_params, monkeypatch: pytest.MonkeyPatch) -> None:
    class State:
        deepspeed_plugin = object()

    class Prepared:
        state = State()

    monkeypatch.setattr("forgeline.training.pretraining.launch.Accelerator", lambda **_: Prepared())
    params = pretrain_params(num_processes=2, parallel="zero2", micro_batch_size=2, optimizer=OPTIMIZERS["adamw"])
    with pytest.raises(ParamsError, match=r"pretrain.parallel zero2 does not take compute.precision fp16"):
        make_accelerator(params, ComputeParams(num_threads=1, precision="fp16"))
