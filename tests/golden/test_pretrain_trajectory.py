"""Twenty steps of pretraining, pinned: a change of these numbers is a change of the mathematics and must be meant.

To pin anew after such a change, print `result.history` of this test and say why in the commit.
"""

from pathlib import Path

import pytest
from tests.unit.training.toys import OPTIMIZERS

from forgeline.training.pretrain import pretrain

# Losses of steps 1 to 20 on one CPU thread, torch 2.13; other CPUs and versions round differently in the last digits.
# fmt: off
TRAIN = {
    "adamw": [
        5.79609, 5.56773, 5.36266, 5.10400, 4.78538, 4.65484, 4.46808, 4.40967, 4.10235, 3.95394,
        3.78587, 3.80180, 3.51131, 3.69220, 3.34483, 3.27606, 3.29883, 3.19453, 3.47765, 3.19313,
    ],
    "muon": [
        5.79609, 5.63144, 5.45890, 5.23099, 4.89884, 4.76593, 4.55658, 4.48101, 4.14727, 4.03028,
        3.81381, 3.87352, 3.57913, 3.74565, 3.40626, 3.33874, 3.32996, 3.26698, 3.49616, 3.26418,
    ],
}
# fmt: on
VALIDATION = {"adamw": [5.80522, 3.82153, 3.24458], "muon": [5.80522, 3.88613, 3.28900]}  # after 0, 10 and 20 steps


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_losses_follow_the_pinned_trajectory(
    optimizer: str, tiny_model, accelerator, packed, pretrain_params, tmp_path: Path
) -> None:
    params = pretrain_params(
        num_steps=20,
        eval_every_steps=10,
        optimizer=OPTIMIZERS[optimizer],
        gradient_accumulation_steps=2,
        micro_batch_size=2,
    )
    result = pretrain(
        tiny_model(7),
        packed["train"],
        packed["validation"],
        params,
        accelerator=accelerator("fp32"),
        checkpoints=tmp_path,
        log=lambda step, figures: None,
    )
    losses = [row["train_loss"] for row in result.history[1:]]
    watched = [row["validation_loss"] for row in result.history if row["validation_loss"] is not None]
    assert losses == pytest.approx(TRAIN[optimizer], rel=1e-3)
    assert watched == pytest.approx(VALIDATION[optimizer], rel=1e-3)
