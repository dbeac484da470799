from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from forgeline.core.errors import ParamsError
from forgeline.training.pretraining.phases import mixture_figures, reading_order

A, B, C = range(0, 40), range(40, 60), range(60, 67)
CORPUS: Any = SimpleNamespace(
    source_windows=lambda: {"a": A, "b": B, "c": C}, weights={"a": 1.0, "b": 1.0, "c": 1.0, "empty": 1.0}
)


def phase(weights: dict[str, float], *, share: float | None = None, num_steps: int | None = None) -> dict[str, Any]:
    return {"share": share, "num_steps": num_steps, "weights": weights}


def test_each_phase_reads_what_it_says(pretrain_params) -> None:
    params = pretrain_params(
        num_steps=8,
        micro_batch_size=500,
        phases=[phase({"a": 2.0, "b": 1.0}, num_steps=6), phase({"c": 1.0}, num_steps=2)],
    )
    visited = reading_order(CORPUS, params).indices(0, 8 * 500)
    first, second = visited[: 6 * 500], visited[6 * 500 :]
    assert np.isin(second, C).all()
    assert not np.isin(first, C).any()
    standard_error = (2 / 9 / 3000) ** 0.5
    assert abs(np.isin(first, A).mean() - 2 / 3) < 4 * standard_error
    figures = mixture_figures(CORPUS, params)
    assert figures["phases"] == [
        {"num_steps": 6, "source_mix": {"a": np.isin(first, A).mean(), "b": np.isin(first, B).mean(), "c": 0.0}},
        {"num_steps": 2, "source_mix": {"a": 0.0, "b": 0.0, "c": 1.0}},
    ]
    assert figures["source_mix"]["c"] == 0.25


def test_the_same_mixture_in_two_phases_is_the_same_as_without(pretrain_params) -> None:
    weights = {"a": 1.0, "b": 1.0, "c": 1.0}
    split = pretrain_params(phases=[phase(weights, share=0.25), phase(weights, share=0.75)])
    plain = reading_order(CORPUS, pretrain_params()).indices(0, 300)
    assert reading_order(CORPUS, split).indices(0, 300).tolist() == plain.tolist()


def test_a_source_goes_on_where_the_phase_before_has_left_it(pretrain_params) -> None:
    params = pretrain_params(
        num_steps=10,
        micro_batch_size=100,
        phases=[phase({"a": 1.0, "b": 9.0}, share=0.5), phase({"a": 1.0, "c": 1.0}, share=0.5)],
    )
    visits = [int(window) for window in reading_order(CORPUS, params).indices(0, 1000) if window in A]
    assert len(visits) > 200
    assert all(Counter(visits[start : start + 40]) == Counter(A) for start in range(0, 200, 40))


def test_the_order_is_a_function_of_the_position_alone(pretrain_params) -> None:
    params = pretrain_params(
        num_steps=10,
        micro_batch_size=1000,
        phases=[phase({"a": 1.0}, num_steps=3), phase({"b": 1.0, "c": 5.0}, num_steps=7)],
    )
    whole = reading_order(CORPUS, params).indices(0, 10_000)
    for start in (0, 2_990, 4_090, 8_180):  # the change of phases, and of the blocks that are drawn at once
        assert reading_order(CORPUS, params).indices(start, 20).tolist() == whole[start : start + 20].tolist()


def test_after_the_last_phase_its_mixture_stays(pretrain_params) -> None:
    params = pretrain_params(phases=[phase({"a": 1.0}, share=0.5), phase({"c": 1.0}, share=0.5)])
    assert np.isin(reading_order(CORPUS, params).indices(100, 50), C).all()


def test_an_unknown_source_is_named_with_those_there_are(pretrain_params) -> None:
    params = pretrain_params(phases=[phase({"a": 1.0, "wiki": 2.0}, share=1.0)])
    with pytest.raises(ParamsError, match="phases: unknown source wiki; there are a, b, c, empty"):
        reading_order(CORPUS, params)


def test_a_phase_of_sources_without_windows_is_refused(pretrain_params) -> None:
    params = pretrain_params(phases=[phase({"empty": 1.0}, share=1.0)])
    with pytest.raises(ParamsError, match="no window begins in any of empty"):
        reading_order(CORPUS, params)


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([phase({"a": 1.0})], "a phase has either share or num_steps"),
        ([phase({"a": 1.0}, share=0.5, num_steps=3)], "a phase has either share or num_steps"),
        ([phase({"a": 0.0}, share=1.0)], "all weights of a phase are 0"),
        ([phase({"a": -1.0}, share=1.0)], "greater than or equal to 0"),
        ([phase({"a": 1.0}, share=0.5), phase({"b": 1.0}, share=0.4)], "shares add up to 0.9: make it 1"),
        ([phase({"a": 1.0}, num_steps=3), phase({"b": 1.0}, num_steps=4)], "steps add up to 7: make it num_steps, 8"),
        ([phase({"a": 1.0}, share=0.5), phase({"b": 1.0}, num_steps=4)], "either all of them a share or all of them"),
        ([phase({"a": 1.0}, share=0.99), phase({"b": 1.0}, share=0.01)], "one is shorter than a step of 8"),
    ],
)
def test_phases_that_make_no_sense_are_refused(pretrain_params, phases: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pretrain_params(phases=phases)


def test_thirds_fill_a_run(pretrain_params) -> None:
    params = pretrain_params(num_steps=10, phases=[phase({"a": 1.0}, share=0.3333333)] * 3)
    assert params.phase_steps() == [(0, 3), (3, 7), (7, 10)]
