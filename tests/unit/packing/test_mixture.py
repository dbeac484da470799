from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgeline.packing.mixture import MixtureOrder, Phase, WindowOrder, observed_mix

SOURCES = {"one": range(0, 30), "two": range(30, 37), "three": range(37, 40)}
WEIGHTS = {"one": 1.0, "two": 2.0, "three": 1.0}


class TestWindowOrder:
    @given(st.integers(1, 12), st.integers(0, 3), st.integers(0, 4))
    def test_every_epoch_visits_every_window_once(self, num_windows: int, seed: int, epoch: int) -> None:
        visited = WindowOrder(num_windows, seed).indices(epoch * num_windows, num_windows)
        assert Counter(visited.tolist()) == Counter(range(num_windows))

    @given(st.integers(1, 9), st.lists(st.integers(0, 7), max_size=9))
    def test_the_order_is_a_function_of_the_position_alone(self, num_windows: int, counts: list[int]) -> None:
        whole = WindowOrder(num_windows, 5).indices(0, sum(counts)).tolist()
        resumed, going = [], WindowOrder(num_windows, 5)
        position = 0
        for count in counts:
            fresh = WindowOrder(num_windows, 5).indices(position, count).tolist()
            assert fresh == going.indices(position, count).tolist()
            resumed += fresh
            position += count
        assert resumed == whole

    def test_going_back_gives_the_same(self) -> None:
        order = WindowOrder(7, 1)
        first = order.indices(0, 7).tolist()
        order.indices(70, 7)
        assert order.indices(0, 7).tolist() == first

    def test_epochs_and_seeds_differ(self) -> None:
        order = WindowOrder(50, 1)
        first, second = order.indices(0, 50).tolist(), order.indices(50, 50).tolist()
        other = WindowOrder(50, 2).indices(0, 50).tolist()
        assert len({tuple(first), tuple(second), tuple(other), tuple(range(50))}) == 4


class TestMixtureOrder:
    def test_two_to_one_is_two_thirds_within_sampling_error(self) -> None:
        halves = {"left": range(0, 500), "right": range(500, 520)}
        mix = observed_mix(MixtureOrder(halves, [Phase(0, {"left": 2.0, "right": 1.0})], 7), halves, 0, 30_000)
        standard_error = (2 / 9 / 30_000) ** 0.5
        assert abs(mix["left"] - 2 / 3) < 4 * standard_error
        assert mix["left"] + mix["right"] == pytest.approx(1)

    def test_only_ratios_of_weights_matter(self) -> None:
        larger = {name: 10 * weight for name, weight in WEIGHTS.items()}
        assert MixtureOrder(SOURCES, [Phase(0, WEIGHTS)], 3).indices(0, 500).tolist() == (
            MixtureOrder(SOURCES, [Phase(0, larger)], 3).indices(0, 500).tolist()
        )

    @pytest.mark.parametrize("source", SOURCES)
    def test_each_source_is_visited_epoch_by_epoch(self, source: str) -> None:
        found = SOURCES[source]
        visits = [int(i) for i in MixtureOrder(SOURCES, [Phase(0, WEIGHTS)], 3).indices(0, 9_000) if i in found]
        epochs = [visits[start : start + len(found)] for start in range(0, len(visits), len(found))][:-1]
        assert len(epochs) > 5
        assert all(Counter(epoch) == Counter(found) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 1

    @given(start=st.integers(0, 9_000), count=st.integers(0, 20))
    @settings(deadline=None, max_examples=20)
    def test_the_order_is_a_function_of_the_position_alone(self, start: int, count: int) -> None:
        going = MixtureOrder(SOURCES, [Phase(0, WEIGHTS)], 5)
        going.indices(start + 5_000, 3)  # goes forth and back over blocks
        expected = MixtureOrder(SOURCES, [Phase(0, WEIGHTS)], 5).indices(0, start + count)[start:].tolist()
        assert going.indices(start, count).tolist() == expected

    def test_seeds_differ(self) -> None:
        first, second = (MixtureOrder(SOURCES, [Phase(0, WEIGHTS)], seed).indices(0, 60).tolist() for seed in (1, 2))
        assert first != second

    def test_a_source_without_a_window_takes_no_part(self) -> None:
        windows = {"one": range(0, 3), "two": range(3, 3), "three": range(3, 5)}
        order = MixtureOrder(windows, [Phase(0, {"one": 1.0, "two": 5.0, "three": 1.0})], 1)
        assert observed_mix(order, windows, 0, 4_000) == pytest.approx({"one": 0.5, "two": 0, "three": 0.5}, abs=0.04)

    def test_no_windows_visited_is_no_mix(self) -> None:
        assert observed_mix(MixtureOrder(SOURCES, [Phase(0, WEIGHTS)], 4), SOURCES, 0, 0) == dict.fromkeys(SOURCES, 0.0)

    def test_one_source_is_visited_like_a_corpus_without_sources(self) -> None:
        order = MixtureOrder({"all": range(0, 7)}, [Phase(0, {"all": 0.3})], 4)
        assert Counter(order.indices(0, 7).tolist()) == Counter(range(7))
