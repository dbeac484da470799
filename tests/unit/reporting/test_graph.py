from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from forgeline.core.pipeline import PipelineStage
from forgeline.reporting.graph import Edge, lay_out, stage_edges


def makes(name: str, deps: list[str], outs: list[str]) -> PipelineStage:
    return PipelineStage(name, "", tuple(deps), tuple(outs), ())


def test_edges_leave_out_what_a_longer_way_implies_and_folders_reach_into() -> None:
    stages = [
        makes("pack", [], ["data/pack"]),
        makes("pretrain", ["data/pack"], ["models/base"]),
        makes("evaluate@base", ["models/base", "data/pack"], ["metrics/evaluate/base.json"]),
        makes("report", ["metrics/evaluate", "models/base"], ["metrics/report.html"]),
    ]
    assert stage_edges(stages) == [("pack", "pretrain"), ("pretrain", "evaluate@base"), ("evaluate@base", "report")]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[str], list[Edge]]:
    names = [f"stage{index}" for index in range(draw(st.integers(1, 12)))]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return names, draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []


@given(graphs())
def test_every_arrow_points_down_and_nothing_overlaps(graph: tuple[list[str], list[Edge]]) -> None:
    names, edges = graph
    layout = lay_out(names, edges)
    for parent, child in edges:
        route = [layout.centers[stop] for stop in layout.routes[parent, child]]
        assert all(below[1] > above[1] for above, below in pairwise(route))
    rows: dict[float, list[float]] = {}
    for name in names:
        x, y = layout.centers[name]
        assert 0 <= x <= layout.width
        assert 0 <= y <= layout.height
        rows.setdefault(y, []).append(x)
    for row in rows.values():
        assert all(right - left > 70 for left, right in pairwise(sorted(row)))
