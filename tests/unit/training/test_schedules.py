import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch.optim.lr_scheduler import ReduceLROnPlateau
from transformers import get_scheduler

from forgeline.training.loop.schedule_params import Schedule, schedule_to_zero
from forgeline.training.loop.schedules import learning_rate_factor

KNOBS: dict[str, dict[str, Any]] = {
    "constant": {},
    "linear": {"min_learning_rate_fraction": 0.2},
    "cosine": {"min_learning_rate_fraction": 0.2},
    "polynomial": {"min_learning_rate_fraction": 0.2, "power": 2.0},
    "warmup_stable_decay": {"min_learning_rate_fraction": 0.2, "decay_steps": 4, "decay": "one_minus_sqrt"},
    "adaptive": {
        "min_learning_rate_fraction": 0.2,
        "reduction_factor": 0.5,
        "patience_evaluations": 2,
        "min_improvement": 0.0,
    },
}
DECAYING = ("linear", "cosine", "polynomial", "warmup_stable_decay")


def schedule(name: str, warmup_steps: int, **changed: Any) -> Schedule:
    knobs = {"name": name, "warmup_steps": warmup_steps, **KNOBS[name], **changed}
    return TypeAdapter(Schedule).validate_python(knobs)


@pytest.mark.parametrize(
    ("name", "step", "expected"),
    [
        # 4 steps of warmup, 8 after it, down to a fifth
        ("cosine", 0, 0.25),
        ("cosine", 3, 1.0),
        ("cosine", 4, 1.0),
        ("cosine", 6, 0.2 + 0.8 * 0.8535533905932737),  # (1 + cos 45°) / 2
        ("cosine", 8, 0.6),
        ("cosine", 12, 0.2),
        ("linear", 1, 0.5),
        ("linear", 4, 1.0),
        ("linear", 6, 0.8),
        ("linear", 8, 0.6),
        ("linear", 12, 0.2),
        ("polynomial", 4, 1.0),
        ("polynomial", 6, 0.2 + 0.8 * 0.5625),  # (3 / 4)^2
        ("polynomial", 8, 0.4),
        ("polynomial", 12, 0.2),
        ("warmup_stable_decay", 2, 0.75),
        ("warmup_stable_decay", 7, 1.0),
        ("warmup_stable_decay", 8, 1.0),
        ("warmup_stable_decay", 9, 0.6),  # 1 - sqrt(1 / 4)
        ("warmup_stable_decay", 10, 0.2 + 0.8 * 0.2928932188134524),  # 1 - sqrt(2 / 4)
        ("warmup_stable_decay", 12, 0.2),
        ("constant", 2, 0.75),
        ("constant", 4, 1.0),
        ("constant", 11, 1.0),
    ],
)
def test_values_by_hand(name: str, step: int, expected: float) -> None:
    assert learning_rate_factor(schedule(name, 4), step, 12) == pytest.approx(expected)


@pytest.mark.parametrize(("decay", "expected"), [("linear", 0.8), ("cosine", 0.2 + 0.8 * 0.8535533905932737)])
def test_other_shapes_of_the_fall_after_the_stable_phase(decay: str, expected: float) -> None:
    assert learning_rate_factor(schedule("warmup_stable_decay", 4, decay=decay), 9, 12) == pytest.approx(expected)


def test_a_longer_run_starts_from_any_stable_step() -> None:
    short, long = ([learning_rate_factor(schedule("warmup_stable_decay", 4), s, n) for s in range(n)] for n in (12, 20))
    assert short[:8] == long[:8]
    assert short[8:] == long[16:]


@pytest.mark.parametrize("name", KNOBS)
def test_no_warmup_starts_at_the_peak(name: str) -> None:
    assert learning_rate_factor(schedule(name, 0), 0, 5) == 1.0


def test_a_run_that_is_all_warmup() -> None:
    assert [learning_rate_factor(schedule("cosine", 2), step, 2) for step in range(2)] == [0.5, 1.0]


@pytest.mark.parametrize(
    ("name", "theirs", "knobs"),
    [
        ("linear", "linear", {"min_learning_rate_fraction": 0.0}),
        ("cosine", "cosine_with_min_lr", {}),
        ("polynomial", "polynomial", {}),
        ("warmup_stable_decay", "warmup_stable_decay", {"decay": "linear"}),
        ("warmup_stable_decay", "warmup_stable_decay", {"decay": "cosine"}),
        ("warmup_stable_decay", "warmup_stable_decay", {"decay": "one_minus_sqrt"}),
    ],
)
def test_after_the_warmup_they_are_those_of_transformers(name: str, theirs: str, knobs: dict[str, Any]) -> None:
    ours = schedule(name, 3, **knobs)
    specific = {
        "linear": {},
        "cosine": {"min_lr_rate": 0.2},
        "polynomial": {"lr_end": 0.2, "power": 2.0},
        "warmup_stable_decay": {
            "num_decay_steps": 4,
            "min_lr_ratio": 0.2,
            "decay_type": str(knobs.get("decay")).replace("one_minus_sqrt", "1-sqrt"),
        },
    }[name]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    library = get_scheduler(theirs, optimizer, 3, 14, specific)
    for step in range(14):
        if step >= 3:  # it warms up from 0, ours from 1 / warmup_steps
            assert learning_rate_factor(ours, step, 14) == pytest.approx(library.get_last_lr()[0]), step
        optimizer.step()
        library.step()


@st.composite
def runs(draw: st.DrawFn, *names: str) -> tuple[Schedule, int]:
    num_steps = draw(st.integers(1, 50))
    warmup = draw(st.integers(0, num_steps))
    changed: dict[str, Any] = {}
    name = draw(st.sampled_from(names))
    if name != "constant":
        changed["min_learning_rate_fraction"] = draw(st.floats(0, 1))
    if name == "polynomial":
        changed["power"] = draw(st.floats(0.1, 5))
    if name == "warmup_stable_decay":
        changed["decay_steps"] = draw(st.integers(0, num_steps - warmup))
        changed["decay"] = draw(st.sampled_from(["linear", "cosine", "one_minus_sqrt"]))
    return schedule(name, warmup, **changed), num_steps


@given(runs(*KNOBS), st.lists(st.floats(0.1, 9), max_size=20))
def test_it_rises_and_then_never_does_again(run: tuple[Schedule, int], losses: list[float]) -> None:
    shape, num_steps = run
    measured = list(enumerate(losses))
    factors = [learning_rate_factor(shape, step, num_steps, measured[: step + 1]) for step in range(num_steps)]
    rising, falling = factors[: shape.warmup_steps], factors[shape.warmup_steps :]
    least = getattr(shape, "min_learning_rate_fraction", 1.0)
    assert rising == sorted(set(rising))
    assert falling == sorted(falling, reverse=True)
    assert all(0 < factor <= 1 for factor in rising)
    assert all(least - 1e-9 <= factor <= 1 + 1e-9 for factor in falling)


@given(runs(*DECAYING))
def test_it_would_end_at_the_minimum(run: tuple[Schedule, int]) -> None:
    shape, num_steps = run
    if shape.warmup_steps < num_steps and getattr(shape, "decay_steps", 1):
        end = learning_rate_factor(shape, num_steps, num_steps)
        assert end == pytest.approx(shape.min_learning_rate_fraction, abs=1e-12)


class TestAdaptive:
    def test_reductions_by_hand(self) -> None:
        """Two losses in a row that are not below the best halve the rate, down to a fifth."""
        losses = [5.0, 4.0, 4.0, 3.9, 3.95, 3.9, 3.8, 3.9, 3.9, 3.9, 3.9, 3.9]
        expected = [1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2]
        measured = list(enumerate(losses, start=1))
        shape = schedule("adaptive", 0)
        found = [learning_rate_factor(shape, step, 99, measured[:step]) for step in range(1, len(losses) + 1)]
        assert found == expected

    def test_losses_before_the_warmup_ends_do_not_count(self) -> None:
        measured = [(0, 1.0), (2, 5.0), (4, 6.0), (6, 5.9), (8, 5.8)]
        shape = schedule("adaptive", 4, patience_evaluations=1)
        assert learning_rate_factor(shape, 3, 99, measured[:2]) == 1.0
        assert learning_rate_factor(shape, 8, 99, measured) == 1.0
        assert learning_rate_factor(shape, 10, 99, [*measured, (10, 5.8)]) == 0.5

    @given(st.lists(st.floats(0.5, 4), max_size=40), st.integers(1, 4), st.sampled_from([0.0, 0.01, 0.2]))
    def test_it_is_torchs_reduction_on_a_plateau(self, losses: list[float], patience: int, least: float) -> None:
        shape = schedule("adaptive", 0, patience_evaluations=patience, min_improvement=least)
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        # Its patience is the number of bad losses that are still borne.
        library = ReduceLROnPlateau(optimizer, factor=0.5, patience=patience - 1, threshold=least, min_lr=0.2)
        for number, loss in enumerate(losses, start=1):
            library.step(loss)
            measured = list(enumerate(losses[:number]))
            assert learning_rate_factor(shape, number, 99, measured) == pytest.approx(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize(
    ("name", "expected"), [("constant", 1.0), ("linear", 0.25), ("cosine", (1 + math.cos(0.75 * math.pi)) / 2)]
)
def test_schedules_that_are_named_by_one_word_end_at_zero(name: str, expected: float) -> None:
    assert learning_rate_factor(schedule_to_zero(name, 2), 8, 10) == pytest.approx(expected)
