"""A run finds the checkpoints that it should find, and ends with the same bytes whichever it finds."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.training.runs import Killed, at, kill, same_bytes
from tests.unit.training.toys import OPTIMIZERS

from forgeline.training.loop.checkpoints import Checkpoints


def test_a_cut_checkpoint_costs_only_the_steps_since_the_one_before(
    train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, whole_result = train(scratch="undisturbed")
    with pytest.raises(Killed):
        train(log=at(7, kill))
    newest = tmp_path / "scratch" / "step-00000006.pt"
    newest.write_bytes(newest.read_bytes()[:-500])
    steps: list[int] = []
    again, result = train(log=lambda step, _: steps.append(step))
    assert steps == [4, 5, 6, 7, 8]
    assert same_bytes(whole, again)
    assert result.history == whole_result.history
    assert "step-00000006.pt is damaged" in capsys.readouterr().err


def test_a_checkpoint_of_another_model_or_configuration_is_not_used(
    train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Killed):
        train(log=at(7, kill), identity="one")
    steps: list[int] = []
    again, _ = train(log=lambda step, _: steps.append(step), identity="two")
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8]
    assert "is of another model, data or configuration" in capsys.readouterr().err
    assert same_bytes(again, train(scratch="undisturbed")[0])


@pytest.mark.parametrize("keep", [1, 3])
def test_so_many_checkpoints_stay(train, tmp_path: Path, keep: int) -> None:
    train(keep_checkpoints=keep, checkpoint_every_steps=2)
    stayed = sorted(int(path.stem.partition("-")[2]) for path in (tmp_path / "scratch").glob("step-*.pt"))
    assert stayed == [2, 4, 6, 8][-keep:]


VARIANTS: dict[str, dict[str, Any]] = {
    "best": {"final_weights": "best", "eval_every_steps": 2},
    "phases": {
        "phases": [
            {"share": 0.5, "num_steps": None, "weights": {"toy": 1.0}},
            {"share": 0.5, "num_steps": None, "weights": {"toy": 3.0}},
        ]
    },
    "document_mask": {"document_mask": True},
    "accumulation": {"gradient_accumulation_steps": 3},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_way_of_training_goes_on_as_if_nothing_had_happened(train, optimizer: str, variant: str) -> None:
    options = {"optimizer": OPTIMIZERS[optimizer], **VARIANTS[variant]}
    whole, whole_result = train(scratch="undisturbed", **options)
    with pytest.raises(Killed):
        train(log=at(4, kill), **options)
    torch.manual_seed(99)
    again, result = train(**options)
    assert same_bytes(whole, again)
    assert result.history == whole_result.history
    assert result.chosen_step == whole_result.chosen_step


def test_the_best_of_before_the_kill_is_not_forgotten(train, tmp_path: Path) -> None:
    """The checkpoint is older than the best weights, which the rerun finds and makes again."""
    options = {
        "optimizer": {"name": "lion", "learning_rate": 0.2, "betas": [0.9, 0.99], "weight_decay": 0.0},
        "schedule": {"name": "constant", "warmup_steps": 8},
        "eval_every_steps": 1,
        "final_weights": "best",
    }
    whole, whole_result = train(scratch="undisturbed", **options)
    assert whole_result.chosen_step == 4
    with pytest.raises(Killed):
        train(log=at(5, kill), **options)
    best = Checkpoints(tmp_path / "scratch", keep=2).load_best()
    assert best is not None
    assert best["step"] == 4
    again, result = train(**options)
    assert result.chosen_step == 4
    assert same_bytes(whole, again)
