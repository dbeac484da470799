"""The pipeline as a drawing: stages in layers, every arrow pointing down (Sugiyama, Tagawa and Toda 1981)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from forgeline.core.pipeline import PipelineStage

_NODE_HEIGHT, _GAP_X, _GAP_Y = 26, 14, 34
_LETTER_WIDTH, _PADDING = 6.9, 18  # of a label at the font size of report.css
_BEND_WIDTH = 2  # room for an arrow that passes through a layer
_WIDEST_ROW = 1100.0  # pixels of stages; what is too many for one layer goes into the next
_SMALLEST_SCALE = 0.75  # of the drawing; on a narrower page it scrolls
_SWEEPS = 8
Edge = tuple[str, str]


@dataclass(frozen=True)
class Layout:
    """Where everything is.

    Attributes:
        centers: Middle of each stage and of each bend (`from>to#layer`), in pixels.
        routes: For each edge, the nodes and bends it passes, in order.
        width: Of the drawing.
        height: Of the drawing.
    """

    centers: Mapping[str, tuple[float, float]]
    routes: Mapping[Edge, Sequence[str]]
    width: float
    height: float


def stage_edges(stages: Sequence[PipelineStage]) -> list[Edge]:
    """Which stage needs which, less what a longer way implies. A folder dep needs all that is written in it."""
    makers: dict[str, set[str]] = {}  # of each output
    inside: dict[str, set[str]] = {}  # makers of what lies in each folder
    for stage in stages:
        for out in stage.outs:
            makers.setdefault(_whole(out), set()).add(stage.address)
            for folder in _folders(out):
                inside.setdefault(folder, set()).add(stage.address)
    parents: dict[str, set[str]] = {}
    for stage in stages:
        needs: set[str] = set()
        for dep in stage.deps:
            whole = _whole(dep)
            needs = needs.union(inside.get(whole, ()), *(makers.get(path, ()) for path in [whole, *_folders(dep)]))
        parents[stage.address] = needs - {stage.address}
    ancestors: dict[str, set[str]] = {}

    def above(name: str) -> set[str]:
        if name not in ancestors:
            ancestors[name] = parents[name].union(*(above(parent) for parent in parents[name]))
        return ancestors[name]

    direct = {
        child: {parent for parent in found if not any(parent in above(other) for other in found - {parent})}
        for child, found in parents.items()
    }
    return [(parent, stage.address) for stage in stages for parent in sorted(direct[stage.address])]


def lay_out(names: Sequence[str], edges: Sequence[Edge]) -> Layout:
    """Places every stage.

    Layers are the longest way from a source (sources themselves stand as low as they can, and a layer that would be too
    wide goes on in the next); the order within a layer follows the mean position of the neighbours.
    """
    layer = _layers(names, edges)
    rows: list[list[str]] = [[] for _ in range(max(layer.values(), default=0) + 1)]
    for name in names:
        rows[layer[name]].append(name)
    routes: dict[Edge, list[str]] = {}
    neighbours: dict[str, tuple[list[str], list[str]]] = {name: ([], []) for name in names}
    for parent, child in edges:
        bends = [f"{parent}>{child}#{row}" for row in range(layer[parent] + 1, layer[child])]
        routes[parent, child] = [parent, *bends, child]
        for bend in bends:
            rows[int(bend.rpartition("#")[2])].append(bend)
            neighbours[bend] = ([], [])
        for upper, lower in zip(routes[parent, child], routes[parent, child][1:], strict=False):
            neighbours[lower][0].append(upper)
            neighbours[upper][1].append(lower)
    _order(rows, neighbours)
    centers, width = _place(rows, neighbours)
    return Layout(centers, routes, width, len(rows) * (_NODE_HEIGHT + _GAP_Y) - _GAP_Y + 8)


def pipeline_graph(stages: Sequence[PipelineStage], edges: Sequence[Edge]) -> str:
    """The stages of dvc.yaml as SVG; each is a button that names its stage in `data-stage`."""
    names = [stage.address for stage in stages]
    layout = lay_out(names, edges)
    body = "".join(_edge(edge, [layout.centers[stop] for stop in layout.routes[edge]]) for edge in edges)
    body += "".join(_node(name, *layout.centers[name]) for name in names)
    needs = ", ".join(f"{child} needs {parent}" for parent, child in edges)
    return (
        f'<svg class="graph" viewBox="0 0 {layout.width:.0f} {layout.height:.0f}" width="{layout.width:.0f}" '
        f'style="min-width:{_SMALLEST_SCALE * layout.width:.0f}px" '
        f'role="group" aria-label="Pipeline graph"><title>Pipeline graph</title><desc>{escape(needs)}.</desc>'
        f"{body}</svg>"
    )


def _whole(path: str) -> str:
    return path.rstrip("/")


def _folders(path: str) -> list[str]:
    """The folders that hold a path: `data`, `data/a` of `data/a/b`."""
    parts = _whole(path).split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _layers(names: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    parents: dict[str, list[str]] = {name: [] for name in names}
    for parent, child in edges:
        parents[child].append(parent)
    layer: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in layer:
            layer[name] = 1 + max((depth(parent) for parent in parents[name]), default=-1)
        return layer[name]

    room: dict[int, float] = {}  # the width that is taken in each layer
    for name in sorted(names, key=depth):
        row = max([layer[name], *(1 + layer[parent] for parent in parents[name])])
        while room.get(row, 0.0) + _width(name) > _WIDEST_ROW and room.get(row):
            row += 1
        layer[name] = row
        room[row] = room.get(row, 0.0) + _width(name) + _GAP_X
    for name in names:  # a source stands just above its first reader, which keeps its arrows short
        readers = [layer[child] for parent, child in edges if parent == name]
        if not parents[name] and readers:
            layer[name] = min(readers) - 1
    return layer


def _order(rows: list[list[str]], neighbours: Mapping[str, tuple[list[str], list[str]]]) -> None:
    """Sorts every row by the mean place of its neighbours in the row before, sweeping down and up by turns."""
    for sweep in range(_SWEEPS):
        downward = sweep % 2 == 0
        indices = range(1, len(rows)) if downward else range(len(rows) - 2, -1, -1)
        for index in indices:
            before = {name: place for place, name in enumerate(rows[index - 1 if downward else index + 1])}
            own = {name: place for place, name in enumerate(rows[index])}

            def mean(
                name: str, before: dict[str, int] = before, own: dict[str, int] = own, up: bool = downward
            ) -> float:
                places = [before[other] for other in neighbours[name][0 if up else 1]]
                return sum(places) / len(places) if places else float(own[name])

            rows[index].sort(key=mean)


def _place(
    rows: Sequence[Sequence[str]], neighbours: Mapping[str, tuple[list[str], list[str]]]
) -> tuple[dict[str, tuple[float, float]], float]:
    """Pixels: every row keeps its order, and is drawn towards its neighbours as far as the gaps allow."""
    x: dict[str, float] = {}
    for row in rows:
        offset = -sum(_width(name) + _GAP_X for name in row) / 2
        for name in row:
            x[name] = offset + _width(name) / 2
            offset += _width(name) + _GAP_X
    for sweep in range(_SWEEPS):  # the last one goes up, so that a chain stands straight above what it leads to
        upward = sweep % 2 == 1
        for row in reversed(rows) if upward else rows:
            _pull(row, x, {name: neighbours[name][1 if upward else 0] for name in row})
    left = min(x[name] - _width(name) / 2 for name in x) - 4
    right = max(x[name] + _width(name) / 2 for name in x) + 4
    pitch = _NODE_HEIGHT + _GAP_Y
    centers = {
        name: (x[name] - left, index * pitch + _NODE_HEIGHT / 2 + 4) for index, row in enumerate(rows) for name in row
    }
    return centers, right - left


def _pull(row: Sequence[str], x: dict[str, float], neighbours: Mapping[str, Sequence[str]]) -> None:
    wishes = []
    for name in row:
        around = [x[other] for other in neighbours[name]]
        wishes.append(sum(around) / len(around) if around else x[name])
    left_to_right, right_to_left = wishes[:], wishes[:]
    for index in range(1, len(row)):
        least = (_width(row[index - 1]) + _width(row[index])) / 2 + _GAP_X
        left_to_right[index] = max(wishes[index], left_to_right[index - 1] + least)
    for index in range(len(row) - 2, -1, -1):
        least = (_width(row[index + 1]) + _width(row[index])) / 2 + _GAP_X
        right_to_left[index] = min(wishes[index], right_to_left[index + 1] - least)
    for name, from_left, from_right in zip(row, left_to_right, right_to_left, strict=True):
        x[name] = (from_left + from_right) / 2  # both keep the gaps, so their mean does


def _width(name: str) -> float:
    return _BEND_WIDTH if "#" in name else _LETTER_WIDTH * max(len(name), 8) + _PADDING


def _edge(edge: Edge, stops: Sequence[tuple[float, float]]) -> str:
    half = _NODE_HEIGHT / 2
    x, y = stops[0][0], stops[0][1] + half
    path = f"M{x:.1f} {y:.1f}"
    for index, (next_x, middle) in enumerate(stops[1:], start=1):
        last = index == len(stops) - 1
        top, bottom = middle - half, middle + half
        bend = (y + top) / 2
        path += f"C{x:.1f} {bend:.1f} {next_x:.1f} {bend:.1f} {next_x:.1f} {top:.1f}"
        path += "" if last else f"L{next_x:.1f} {bottom:.1f}"
        x, y = next_x, bottom
    return f'<path class="edge" data-from="{escape(edge[0])}" data-to="{escape(edge[1])}" d="{path}"/>'


def _node(name: str, x: float, y: float) -> str:
    label = escape(name)
    return (
        f'<g class="node" data-stage="{label}" tabindex="0" role="button" aria-label="stage {label}">'
        f'<rect x="{x - _width(name) / 2:.1f}" y="{y - _NODE_HEIGHT / 2:.1f}" width="{_width(name):.1f}" '
        f'height="{_NODE_HEIGHT}" rx="5"/><text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle">{label}</text></g>'
    )
