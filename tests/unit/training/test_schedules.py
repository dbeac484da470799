import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgeline.training.loop.schedules import learning_rate_factor


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
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
        ("constant", 2, 0.75),
        ("constant", 4, 1.0),
        ("constant", 11, 1.0),
    ],
)
def test_values_by_hand(schedule: str, step: int, expected: float) -> None:
    assert learning_rate_factor(schedule, step, 12, 4, 0.2) == pytest.approx(expected)


def test_no_warmup_starts_at_the_peak() -> None:
    assert [learning_rate_factor(name, 0, 5, 0, 0.1) for name in ("constant", "linear", "cosine")] == [1.0, 1.0, 1.0]


def test_a_run_that_is_all_warmup() -> None:
    assert [learning_rate_factor("cosine", step, 2, 2, 0.1) for step in range(2)] == [0.5, 1.0]


@given(st.sampled_from(["constant", "linear", "cosine"]), st.integers(1, 50), st.integers(0, 50), st.floats(0, 1))
def test_it_rises_and_then_never_does_again(schedule: str, num_steps: int, warmup: int, least: float) -> None:
    warmup = min(warmup, num_steps)
    factors = [learning_rate_factor(schedule, step, num_steps, warmup, least) for step in range(num_steps)]
    assert factors[:warmup] == sorted(factors[:warmup])
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
    assert all(0 < factor <= 1 for factor in factors[:warmup])
    assert all(least - 1e-9 <= factor <= 1 + 1e-9 for factor in factors[warmup:])
