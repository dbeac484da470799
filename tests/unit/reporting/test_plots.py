import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgeline.reporting.plots import Axis, Dot, Line, interval_chart, line_chart, pareto_front, scatter_chart

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)


@given(NUMBERS, NUMBERS)
def test_ticks_enclose_the_data_evenly(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    axis = Axis(low, high, 0, 100)
    invisible = 1e-6 * max(high - low, abs(high)) + 1e-100
    assert axis.ticks[0] <= low + invisible
    assert axis.ticks[-1] >= high - invisible
    assert 2 <= len(axis.ticks) <= 8


def test_axis_maps_linearly_and_logarithmically() -> None:
    assert Axis(0, 10, 100, 0)(2.5) == pytest.approx(75)
    assert Axis(1, 100, 0, 100, log=True)(10) == pytest.approx(50)
    assert Axis(0.1, 0.5, 0, 1).ticks == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_charts_are_well_formed_and_say_what_they_show() -> None:
    line = line_chart("loss <of> sft", [Line("train & more", [(1, 2.0), (2, 1.0)], "s1")], "step", "loss")
    dots = [Dot("a<b", 2.0, 0.5, 0.4, 0.6, "s1"), Dot("c", 8.0, 0.7, 0.6, 0.8, "s2")]
    rows = interval_chart("accuracy", dots, "accuracy", (0.2, "majority class"))
    points = scatter_chart("accuracy against size", dots, "size", "accuracy", log_x=True)
    for chart in (line, rows, points):
        root = ElementTree.fromstring(chart)
        assert root.find("title") is not None
        assert root.attrib["role"] == "img"
        assert not re.search(r"#[0-9a-f]{3,6}\b", chart)  # colours belong to the style sheet
    description = ElementTree.fromstring(rows).findtext("desc") or ""
    assert "a<b 0.500 (95 % interval 0.400 to 0.600)" in description
    assert "majority class 0.200" in description


def test_without_points_there_is_no_chart() -> None:
    assert line_chart("t", [Line("a", [], "s1")], "step", "loss") == ""
    assert interval_chart("t", [], "x", None) == ""


points = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=9)


@given(points, st.booleans())
def test_the_front_is_what_nothing_dominates(places: list[tuple[int, int]], lower_is_better: bool) -> None:
    dots = [Dot(f"m{i}", x, y, y - 0.5, y + 0.5, "s1") for i, (x, y) in enumerate(places)]
    sign = -1 if lower_is_better else 1

    def dominates(other: Dot, dot: Dot) -> bool:
        no_worse = other.x <= dot.x and sign * other.value >= sign * dot.value
        return no_worse and (other.x, other.value) != (dot.x, dot.value)

    expected = {dot.name for dot in dots if not any(dominates(other, dot) for other in dots)}
    assert {dot.name for dot in pareto_front(dots, lower_is_better)} == expected


def test_the_front_is_filled_drawn_in_steps_and_named() -> None:
    places = {"small": (1.0, 0.5), "large": (4.0, 0.9), "poor": (2.0, 0.4)}
    dots = [Dot(name, x, y, y - 0.1, y + 0.1, "s1") for name, (x, y) in places.items()]
    chart = ElementTree.fromstring(scatter_chart("t", dots, "size", "accuracy"))
    assert "Pareto front: small, large." in (chart.findtext("desc") or "")
    hollow = [it.findtext("title") for it in chart.iter("circle") if "hollow" in it.attrib["class"]]
    assert hollow == ["poor: 2, 0.400 (0.300 to 0.500)"]
    [front] = [it.attrib["d"] for it in chart.iter("path") if it.attrib["class"] == "front"]
    assert re.fullmatch(r"M[\d.]+ [\d.]+H[\d.]+V[\d.]+", front)


def test_names_of_near_points_do_not_cover_each_other() -> None:
    dots = [Dot(f"model_{i}", 1 + i / 50, 0.5 + i / 500, 0.4, 0.6, "s1") for i in range(8)]
    chart = ElementTree.fromstring(scatter_chart("t", dots, "size", "accuracy"))
    names = [it for it in chart.iter("text") if "name" in it.attrib["class"]]
    assert len(names) == 8
    heights = {"start": 0.0, "end": -55.2, "middle": -27.6}  # from the anchor to the left end of eight characters
    boxes = [(float(it.attrib["x"]) + heights[it.attrib["text-anchor"]], float(it.attrib["y"])) for it in names]
    for index, (x, y) in enumerate(boxes):
        assert all(abs(x - left) >= 55 or abs(y - base) >= 11 for left, base in boxes[:index])


def test_long_names_have_room_beside_their_intervals() -> None:
    dots = [Dot("awq_w4_g64_kv8_headbf16", 0, 0.5, 0.4, 0.6, "s1"), Dot("base", 0, 0.5, 0.4, 0.6, "s2")]
    chart = ElementTree.fromstring(interval_chart("t", dots, "accuracy", None))
    [anchor] = {float(it.attrib["x"]) for it in chart.iter("text") if it.attrib["class"] == "name"}
    assert anchor >= 6.5 * len(dots[0].name)
    assert all(float(it.attrib["x1"]) > anchor for it in chart.iter("line") if "whisker" in it.attrib["class"])
