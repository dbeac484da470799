import math

import pytest
import torch
from tests.unit.training.runs import at
from tests.unit.training.toys import OPTIMIZERS

from forgeline.core.errors import ForgelineError
from forgeline.model.loading import load_model, save_model_files
from forgeline.training.pretraining.watch import best_step, divergence, rises

CALM = [3.0] * 20


def test_an_ordinary_step_is_no_divergence() -> None:
    assert divergence(3.1, 1.0, CALM, 2.0) is None
    assert divergence(6.0, 1.0, CALM, 2.0) is None  # just as much as the knob allows


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_one_whatever_the_knob_says(bad: float) -> None:
    assert divergence(bad, 1.0, [], None) == f"the loss became {bad}"
    assert divergence(3.0, bad, [], None) == f"the norm of the gradient became {bad}"


def test_a_jump_is_measured_against_the_median_of_the_last_steps() -> None:
    text = "the loss jumped to 6.100, more than pretrain.spike_factor 2 times 3.000, the median of the 20 steps before,"
    assert divergence(6.1, 1.0, CALM, 2.0) == text
    assert divergence(6.1, 1.0, CALM, None) is None
    assert divergence(6.1, 1.0, CALM[:9], 2.0) is None  # too few to know
    assert divergence(6.1, 1.0, [9.0] * 40 + [3.0] * 50, 2.0) is not None  # long ago is forgotten
    assert divergence(6.1, 1.0, [3.0] * 6 + [99.0] * 5, 2.0) is not None  # a few high ones do not move it


def test_rises_in_a_row() -> None:
    def at_steps(*losses: float) -> list[tuple[int, float]]:
        return [(10 * number, loss) for number, loss in enumerate(losses)]

    assert rises(at_steps(5, 4, 3, 4, 5)) == []
    assert rises(at_steps(5, 4, 5, 6, 7)) == [40]
    assert rises(at_steps(5, 6, 7, 7, 8, 9, 10)) == [60]  # an equal one breaks the row
    assert rises(at_steps(1, 2, 3, 4, 5, 6, 7, 8)) == [30, 60]
    assert rises([]) == []


def test_the_first_of_equal_losses_is_the_best() -> None:
    assert best_step([(0, 5.0), (4, 3.0), (8, 3.0), (12, 4.0)]) == 4


class TestRuns:
    def test_a_rising_validation_loss_is_said_and_counted(
        self, train, tiny_model, capfd: pytest.CaptureFixture[str]
    ) -> None:
        model = tiny_model(7)

        def overconfident(_step: int, _figures: dict[str, float]) -> None:
            with torch.no_grad():
                model.model.norm.weight.mul_(2)  # its logits are those of random weights, twice as sure every time

        optimizer = {**OPTIMIZERS["adamw"], "learning_rate": 1e-9, "weight_decay": 0.0}
        _, result = train(model, log=overconfident, optimizer=optimizer, eval_every_steps=1, num_steps=5)
        losses = [row["validation_loss"] for row in result.history]
        steps = [row["step"] for row in result.history]
        expected = rises(list(zip(steps, losses, strict=True)))
        assert expected == [4], losses
        said = capfd.readouterr().err
        assert said.count("the validation loss has risen 3 times in a row") == len(expected)
        assert f"up to step {expected[0]}:" in said

    def test_a_broken_run_leaves_its_last_good_weights_as_a_model(self, train, tiny_model, tokenizer, tmp_path) -> None:
        model = tiny_model(7)
        kept: dict[str, torch.Tensor] = {}

        def note() -> None:
            kept.update({name: value.clone() for name, value in model.state_dict().items()})

        def poison() -> None:
            with torch.no_grad():
                model.model.norm.weight.fill_(math.nan)

        def log(step: int, figures: dict[str, float]) -> None:
            at(3, note)(step, figures)
            at(5, poison)(step, figures)

        with pytest.raises(ForgelineError) as caught:
            train(model, log=log, save_model=lambda network, folder: save_model_files(network, tokenizer, folder))
        message = str(caught.value)
        folder = tmp_path / "scratch" / "last-good"
        assert message.startswith("the loss became nan at step 5: lower the learning rate or max_grad_norm")
        assert f"set pretrain.init_from to {folder}, which holds the good weights of step 3" in message
        saved = load_model(folder, torch.device("cpu")).state_dict()
        assert all(torch.equal(saved[name], value) for name, value in kept.items())

    def test_a_jump_of_the_loss_stops(self, train, tiny_model) -> None:
        model = tiny_model(7)

        def scramble() -> None:
            with torch.no_grad():
                model.model.norm.weight.fill_(50.0)

        with pytest.raises(ForgelineError, match=r"the loss jumped to .* at step 14: lower the learning rate"):
            train(model, num_steps=20, spike_factor=1.5, log=at(14, scramble))

    def test_a_gradient_that_is_not_a_number_never_reaches_the_weights(self, train, tiny_model) -> None:
        model = tiny_model(7)
        calls = 0

        def spoil(gradient: torch.Tensor) -> torch.Tensor:
            nonlocal calls
            calls += 1
            return gradient * math.nan if calls == 3 else gradient

        model.model.norm.weight.register_hook(spoil)
        with pytest.raises(ForgelineError, match="the norm of the gradient became nan at step 2: lower"):
            train(model)
        assert all(torch.isfinite(value).all() for value in model.state_dict().values())


OVERSHOOTING = {
    "optimizer": {"name": "lion", "learning_rate": 0.2, "betas": [0.9, 0.99], "weight_decay": 0.0},
    "schedule": {"name": "constant", "warmup_steps": 8},
    "num_steps": 8,
    "eval_every_steps": 2,
}


class TestFinalWeights:
    def test_the_best_are_those_of_the_lowest_validation_loss(self, train) -> None:
        best, result = train(**OVERSHOOTING, final_weights="best")
        losses = {row["step"]: row["validation_loss"] for row in result.history if row["validation_loss"] is not None}
        assert result.chosen_step == min(losses, key=losses.__getitem__)
        assert 0 < result.chosen_step < 8
        last, last_result = train(scratch="again", final_weights="last", **OVERSHOOTING)
        assert last_result.history == result.history
        assert last_result.chosen_step == 8
        assert not torch.equal(best.lm_head.weight, last.lm_head.weight)

    def test_they_score_as_the_history_says(self, train, tiny_model) -> None:
        best, result = train(**OVERSHOOTING, final_weights="best")
        _, measured = train(
            best, scratch="measure", num_steps=0, init_from="x", schedule={"name": "constant", "warmup_steps": 0}
        )
        assert measured.first("validation_loss") == result.chosen["validation_loss"]

    def test_a_model_that_only_gets_worse_stays_as_it_was(self, train, tiny_model) -> None:
        options = {**OVERSHOOTING, "schedule": {"name": "constant", "warmup_steps": 0}, "eval_every_steps": 4}
        options["optimizer"] = {**options["optimizer"], "learning_rate": 5.0}
        best, result = train(**options, final_weights="best")
        assert result.chosen_step == 0
        assert torch.equal(best.lm_head.weight, tiny_model(7).lm_head.weight)
