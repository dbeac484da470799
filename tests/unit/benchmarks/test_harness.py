import json
from collections.abc import Iterator

import pytest
from benchmarks.harness import Comparison, alternate


def test_a_cost_holds_up_to_its_target() -> None:
    assert Comparison("noop", 1.5, 1.0, "s", target=1.5).holds
    assert not Comparison("noop", 1.51, 1.0, "s", target=1.5).holds


def test_a_rate_holds_from_its_target_on() -> None:
    assert Comparison("cores", 1.7, 1.0, "MB/s", target=1.7, higher_is_better=True).holds
    assert not Comparison("cores", 1.69, 1.0, "MB/s", target=1.7, higher_is_better=True).holds


def test_a_rate_must_reach_its_floor_as_well_as_its_ratio() -> None:
    def cleaning(ours: float, peer: float) -> Comparison:
        return Comparison("cleaning", ours, peer, "MB/s per core", target=100, higher_is_better=True, floor=20)

    assert cleaning(20, 0.2).holds
    assert not cleaning(19.99, 0.1).holds
    assert not cleaning(30, 0.31).holds


def test_other_requirements_count_too() -> None:
    assert not Comparison("dedup", 90, 1, "MB/s", target=2, higher_is_better=True, others_hold=False).holds
    assert not Comparison("noop", 1, 1, "s", target=1.5, others_hold=False).holds


def test_a_floor_of_a_cost_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="noop: a floor belongs to a rate"):
        Comparison("noop", 1.0, 1.0, "s", target=1.5, floor=1.0)


def test_the_last_line_has_these_keys_and_the_verdict_is_not_of_rounded_numbers() -> None:
    line = json.loads(Comparison("noop", 1.50049, 1.0, "s", target=1.5).as_json())
    assert line == {
        "name": "noop",
        "ours": 1.5,
        "peer": 1.0,
        "unit": "s",
        "ratio": 1.5,
        "target": 1.5,
        "holds": False,
    }


def test_alternate_takes_turns_and_leaves_the_warm_up_out_of_the_medians(capsys: pytest.CaptureFixture[str]) -> None:
    turns: list[str] = []
    ours, peer = iter([100.0, 1.0, 3.0, 2.0]), iter([100.0, 10.0, 10.0, 40.0])

    def take(name: str, values: Iterator[float]) -> float:
        turns.append(name)
        return next(values)

    medians = alternate(lambda: take("ours", ours), lambda: take("peer", peer), num_pairs=3)
    assert medians == (2.0, 10.0)
    assert turns == ["ours", "peer"] * 4
    assert "pair 1: ours 1.000, peer 10.000, ratio 0.100" in capsys.readouterr().out
