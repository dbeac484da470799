import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.unit.training.runs import Killed, at, kill, same_bytes
from tests.unit.training.toys import OPTIMIZERS

from forgeline.core.errors import ForgelineError, StopRequested
from forgeline.packing.dataset import TokenDataset
from forgeline.training.loop.objective import split_window
from forgeline.training.loop.optimizers.sophia import label_uniforms
from forgeline.training.params.pretrain import PretrainParams
from forgeline.training.pretraining.batch import Batch
from forgeline.training.pretraining.head_loss import draw_labels
from forgeline.training.pretraining.summary import PretrainResult, summary

NO_WARMUP = {"name": "constant", "warmup_steps": 0}
WARMUP_4_DECAY_6 = {
    "name": "warmup_stable_decay",
    "warmup_steps": 4,
    "decay_steps": 6,
    "decay": "linear",
    "min_learning_rate_fraction": 0.0,
}


def first_windows(data: TokenDataset, count: int) -> torch.Tensor:
    """What a run with seed 3 reads first: of the only source, whose order has the same seed, in epoch 0."""
    order = np.random.default_rng([3, 0]).permutation(len(data))
    return torch.from_numpy(data.windows(order[:count]))


class TestLearning:
    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_the_loss_falls_on_text_that_repeats(self, train, optimizer: str) -> None:
        _, result = train(num_steps=40, eval_every_steps=40, optimizer=OPTIMIZERS[optimizer])
        assert result.first("validation_loss") > 5.0  # about ln 300 before training
        assert result.last("validation_loss") < 0.7 * result.first("validation_loss")
        assert result.last("train_loss") < 0.7 * result.first("train_loss")

    def test_training_twice_gives_the_same_bytes(self, train) -> None:
        first, first_result = train(scratch="one")
        second, second_result = train(scratch="two")
        assert same_bytes(first, second)
        assert first_result.history == second_result.history

    def test_the_seed_decides_the_order_of_the_windows(self, train) -> None:
        assert not same_bytes(train(scratch="one")[0], train(scratch="two", seed=4)[0])

    # Muon orthogonalizes in bfloat16, which turns a last bit of the gradient into 2^-8 of an update of 0.02. AdamW and
    # Sophia divide by numbers that can be as small as the last bits. The labels of Sophia do not depend on the cut.
    @pytest.mark.parametrize(
        ("optimizer", "tolerance"),
        [("adamw", 5e-5), ("adafactor", 1e-5), ("lion", 1e-6), ("sophia", 1e-4), ("muon", 2e-3)],
    )
    def test_a_step_does_not_depend_on_how_it_is_cut(self, train, optimizer: str, tolerance: float) -> None:
        cuts = [(8, 1), (1, 8), (2, 4)]
        runs = [
            train(
                scratch=f"{micro}x{steps}",
                micro_batch_size=micro,
                gradient_accumulation_steps=steps,
                optimizer=OPTIMIZERS[optimizer],
                num_steps=3,
            )
            for micro, steps in cuts
        ]
        (whole, whole_result), *others = runs
        for other, result in others:
            for key, value in other.state_dict().items():
                assert torch.allclose(value, whole.state_dict()[key], rtol=0, atol=tolerance), key
            assert result.last("train_loss") == pytest.approx(whole_result.last("train_loss"), rel=1e-4)

    def test_gradients_of_micro_batches_add_up_to_that_of_the_librarys_mean_loss(
        self, train, tiny_model, packed
    ) -> None:
        # Clipping, AdamW and Muon all hide a gradient of the wrong length, so it is looked at before them.
        gradients: list[torch.Tensor] = []
        model = tiny_model(7)
        model.model.layers[0].mlp.up_proj.weight.register_hook(lambda gradient: gradients.append(gradient.clone()))
        train(model, num_steps=1, schedule=NO_WARMUP, micro_batch_size=2, gradient_accumulation_steps=4)
        windows = first_windows(packed["train"], 8)
        library = tiny_model(7)
        library(input_ids=windows, labels=windows).loss.backward()
        assert len(gradients) == 4
        assert torch.allclose(sum(gradients), library.model.layers[0].mlp.up_proj.weight.grad, rtol=1e-4, atol=1e-8)

    def test_the_first_loss_is_that_of_the_first_windows(self, train, tiny_model, packed) -> None:
        _, result = train(num_steps=1, schedule=NO_WARMUP)
        model = tiny_model(7)
        windows = first_windows(packed["train"], 4)
        assert result.first("train_loss") == pytest.approx(model(input_ids=windows, labels=windows).loss.item())

    def test_the_validation_loss_is_the_mean_over_the_first_windows(self, train, tiny_model, packed) -> None:
        _, result = train(num_steps=1, schedule=NO_WARMUP, eval_windows=5)
        inputs, labels = split_window(torch.from_numpy(packed["validation"].windows(np.arange(5))))
        logits = tiny_model(7)(input_ids=inputs).logits
        expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        assert result.first("validation_loss") == pytest.approx(expected.item())

    def test_history_has_a_row_a_step_and_says_what_was_measured(self, train) -> None:
        seen: list[tuple[int, set[str]]] = []
        _, result = train(num_steps=5, log=lambda step, figures: seen.append((step, set(figures))))
        rows = result.history
        assert [row["step"] for row in rows] == [0, 1, 2, 3, 4, 5]
        assert [row["step"] for row in rows if row["validation_loss"] is not None] == [0, 4, 5]
        assert (rows[0]["train_loss"], rows[0]["learning_rate"]) == (None, None)
        # Two steps of warmup, then half a cosine over three from 0.01 to 0.001.
        rates = [row["learning_rate"] for row in rows[1:]]
        assert rates == pytest.approx([0.005, 0.01, 0.01, 0.00775, 0.00325])
        speed = {"tokens_per_second", "model_flops_utilization", "peak_memory_megabytes"}
        always = {"train_loss", "learning_rate", "gradient_norm"} | speed  # the last ones in no file: they are measured
        validated = always | {"validation_loss"}
        assert seen == [(1, always), (2, always), (3, always), (4, validated), (5, validated)]

    @pytest.mark.parametrize("loaded", [False, True])  # what is loaded to continue from comes in evaluation mode
    def test_dropout_is_off_while_validating_and_on_while_training(self, train, tiny_model, loaded: bool) -> None:
        modes: list[tuple[bool, bool]] = []
        model = tiny_model(7).train(not loaded)
        model.base_model.register_forward_hook(
            lambda module, *_: modes.append((module.training, torch.is_grad_enabled()))
        )
        train(model, num_steps=2, eval_windows=4)
        probe = (False, False)  # how the head is told from others
        assert modes == [probe, (False, False), (True, True), (True, True), (False, False)]


def test_an_objective_of_ones_own_is_minimized_and_its_sums_are_told_per_token(train, tiny_model, packed) -> None:
    def objective(network: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, int, dict[str, torch.Tensor]]:
        logits = network(None, **batch.inputs)
        hits = (logits.argmax(-1) == batch.labels).sum()
        return (logits**2).sum(), batch.num_supervised, {"accuracy": hits}

    told: list[dict[str, float]] = []
    options = {"num_steps": 1, "schedule": NO_WARMUP, "micro_batch_size": 2, "gradient_accumulation_steps": 2}
    _, result = train(objective=objective, log=lambda _, figures: told.append(figures), **options)
    inputs, labels = split_window(first_windows(packed["train"], 4))
    logits = tiny_model(7)(input_ids=inputs).logits
    assert result.first("train_loss") == pytest.approx((logits**2).sum().item() / 64)
    assert told[0]["accuracy"] == (logits.argmax(-1) == labels).sum().item() / 64


def test_sophia_sees_labels_of_the_models_own_and_learns_from_the_true_ones(
    train, tiny_model, packed, tmp_path: Path
) -> None:
    train(
        num_steps=1,
        schedule=NO_WARMUP,
        optimizer=OPTIMIZERS["sophia"],
        micro_batch_size=2,
        gradient_accumulation_steps=2,
        max_grad_norm=1e9,
        checkpoint_every_steps=1,
    )
    (optimizer,) = torch.load(tmp_path / "scratch" / "step-00000001.pt")["optimizers"]
    model = tiny_model(7)
    inputs, labels = split_window(first_windows(packed["train"], 4))
    logits = model(input_ids=inputs).logits
    drawn = draw_labels(logits, labels, label_uniforms(3, 0, (4, 16)))
    weights = sorted(model.parameters(), key=lambda value: value.ndim < 2)  # what decays comes first

    def gradients(targets: torch.Tensor) -> tuple[torch.Tensor, ...]:
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return torch.autograd.grad(loss, weights, retain_graph=True)

    states = optimizer["state"].values()
    for state, own, true in zip(states, gradients(drawn), gradients(labels), strict=True):
        # Decay rates 0.96 and 0.99, from 0; 64 labels.
        assert torch.allclose(state["hessian"], 0.01 * 64 * own.square(), rtol=1e-3, atol=1e-12)
        assert torch.allclose(state["momentum"], 0.04 * true, rtol=1e-3, atol=1e-9)


class TestResuming:
    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    @pytest.mark.parametrize("killed_at", [2, 5, 8])
    def test_a_killed_run_ends_as_if_nothing_had_happened(
        self, train, optimizer: str, precision: str, killed_at: int
    ) -> None:
        options = {"optimizer": OPTIMIZERS[optimizer], "precision": precision}
        whole, whole_result = train(scratch="undisturbed", **options)
        with pytest.raises(Killed):
            train(log=at(killed_at, kill), **options)
        torch.manual_seed(99)
        steps: list[int] = []
        again, again_result = train(log=lambda step, _: steps.append(step), **options)
        assert steps[0] == killed_at // 3 * 3 + (1 if killed_at % 3 else -2)  # killed before step k was saved
        assert same_bytes(whole, again)
        assert again_result.history == whole_result.history

    def test_an_adaptive_schedule_goes_on_as_if_nothing_had_happened(self, train) -> None:
        schedule = {
            "name": "adaptive",
            "warmup_steps": 1,
            "min_learning_rate_fraction": 0.01,
            "reduction_factor": 0.5,
            "patience_evaluations": 1,
            "min_improvement": 0.05,
        }
        options = {"schedule": schedule, "num_steps": 12, "eval_every_steps": 1}
        whole, whole_result = train(scratch="undisturbed", **options)
        rates = [row["learning_rate"] for row in whole_result.history[1:]]
        assert rates[0] == 0.01
        assert rates[4] > rates[-1] > 0.0  # reduced before the kill at step 5, and after it
        with pytest.raises(Killed):
            train(log=at(5, kill), **options)
        again, again_result = train(**options)
        assert same_bytes(whole, again)
        assert again_result.history == whole_result.history

    def test_dropout_goes_on_as_if_nothing_had_happened(self, train, tiny_model) -> None:
        def with_dropout() -> torch.nn.Module:
            model = tiny_model(7)
            for layer in model.model.layers:
                layer.self_attn.attention_dropout = 0.3
            return model

        whole, _ = train(with_dropout(), scratch="undisturbed")
        assert not same_bytes(whole, train(scratch="without")[0])
        with pytest.raises(Killed):
            train(with_dropout(), log=at(5, kill))
        again = with_dropout()
        torch.manual_seed(99)
        assert same_bytes(whole, train(again)[0])

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_saves_a_checkpoint_and_the_rerun_goes_on_from_there(
        self, train, number: signal.Signals, tmp_path: Path
    ) -> None:
        whole, whole_result = train(scratch="undisturbed")
        with pytest.raises(StopRequested, match="checkpoint at step 4 saved, `dvc repro` goes on from there"):
            train(log=at(4, lambda: signal.raise_signal(number)))
        assert sorted(path.name for path in (tmp_path / "scratch").iterdir()) == [
            "step-00000003.pt",
            "step-00000004.pt",
        ]
        steps: list[int] = []
        again, again_result = train(log=lambda step, _: steps.append(step))
        assert steps == [5, 6, 7, 8]
        assert same_bytes(whole, again)
        assert again_result.history == whole_result.history

    def test_a_signal_in_the_last_step_lets_the_run_end(self, train) -> None:
        whole, _ = train(scratch="undisturbed")
        model, _ = train(log=at(8, lambda: signal.raise_signal(signal.SIGTERM)))
        assert same_bytes(whole, model)

    def test_a_second_signal_stops_at_once(self, train) -> None:
        def twice() -> None:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)

        with pytest.raises(StopRequested, match="second SIGTERM"):
            train(log=at(4, twice))

    def test_a_finished_run_that_is_run_again_trains_nothing(self, train) -> None:
        first, first_result = train(checkpoint_every_steps=8)
        steps: list[int] = []
        second, second_result = train(checkpoint_every_steps=8, log=lambda step, _: steps.append(step))
        assert steps == []
        assert same_bytes(first, second)
        assert first_result.history == second_result.history


def test_a_loss_that_is_not_a_number_stops_with_a_message(train, tiny_model) -> None:
    model = tiny_model(7)

    def poison() -> None:
        with torch.no_grad():
            model.model.norm.weight.fill_(float("nan"))

    with pytest.raises(ForgelineError, match="the loss became nan at step 3: lower the learning rate"):
        train(model, log=at(3, poison))


def test_no_steps_only_measure_the_model(train, tiny_model, packed, pretrain_params) -> None:
    changed = {"num_steps": 0, "schedule": NO_WARMUP, "init_from": "models/other"}
    model, result = train(**changed)
    assert same_bytes(model, tiny_model(7))
    figures = summary(result, 8, packed["train"], packed["validation"], pretrain_params(**changed))
    assert figures["untrained"]["validation_loss"] == figures["final"]["validation_loss"]
    assert figures["final"]["train_loss"] is None
    assert figures["num_tokens_seen"] == 0


def test_the_summary_by_hand(packed, pretrain_params) -> None:
    result = PretrainResult(
        [
            {"step": 0, "train_loss": None, "learning_rate": None, "validation_loss": 5.0},
            {"step": 1, "train_loss": 4.0, "learning_rate": 0.1, "validation_loss": 3.0},
            {"step": 2, "train_loss": 2.5, "learning_rate": 0.1, "validation_loss": 3.5},
        ],
        chosen_step=1,
        model=torch.nn.Linear(1, 1),
    )
    train_data, validation = packed["train"], packed["validation"]
    params = pretrain_params(num_steps=2, micro_batch_size=4, gradient_accumulation_steps=3)
    figures = summary(result, 8, train_data, validation, params)
    assert figures["num_parameters"] == 8
    assert figures["num_tokens_seen"] == 2 * 4 * 3 * 16
    assert figures["tokens_per_parameter"] == 48.0
    assert figures["equivalent_epochs"] == pytest.approx(24 / len(train_data))
    assert figures["chinchilla_ratio"] == 2.4
    assert (figures["final"]["step"], figures["final"]["train_loss"]) == (1, 4.0)
    assert figures["final"]["validation_perplexity"] == pytest.approx(20.085536923)  # e^3
    nats_per_byte = 3.0 * validation.facts["num_tokens"] / validation.facts["num_bytes"]
    assert figures["final"]["validation_bits_per_byte"] == pytest.approx(nats_per_byte / 0.69314718056)
    assert figures["untrained"]["validation_loss"] == 5.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_steps": 0, "schedule": NO_WARMUP}, "num_steps 0 without init_from would leave random weights"),
        ({"num_steps": 3, "schedule": {"name": "constant", "warmup_steps": 4}}, "warmup_steps 4 exceeds num_steps 3"),
        ({"num_steps": 9, "schedule": WARMUP_4_DECAY_6}, "warmup_steps 4 and schedule.decay_steps 6 together exceed"),
        ({"optimizer": {**OPTIMIZERS["adamw"], "betas": [0.9]}}, "at least 2 items"),
        ({"optimizer": {**OPTIMIZERS["adamw"], "betas": [0.9, 1.0]}}, "less than 1"),
        ({"optimizer": {**OPTIMIZERS["lion"], "momentum": 0.9}}, r"optimizer\.lion\.momentum\s+Extra inputs"),
        ({"optimizer": {"name": "sgd"}}, "'adamw', 'adafactor', 'lion', 'sophia', 'muon'"),
        ({"schedule": {"name": "step", "warmup_steps": 2}}, "'polynomial', 'warmup_stable_decay', 'adaptive'"),
        ({"micro_batch_size": 0}, "greater than or equal to 1"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(
    pretrain_params: Callable[..., PretrainParams], changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        pretrain_params(**changed)
