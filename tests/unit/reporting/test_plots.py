import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgeline.reporting.plots import Axis, Dot, Line, interval_chart, line_chart, scatter_chart

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
