"""Charts as inline SVG. Colours are CSS classes, so that one drawing serves the light and the dark page.

Every chart has a title and a description for screen readers, a `viewBox`, and labelled axes. The drawing units are
pixels at the size at which the page shows it, so text keeps its size on a phone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 420, 250
_LETTER = 6.9  # pixels of one letter of a name
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 14, 12, 38
Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Line:
    """A named line. `style` is the CSS class of its colour; `marked` draws its points, for few measurements."""

    name: str
    points: Sequence[Point]
    style: str
    marked: bool = False


@dataclass(frozen=True)
class Dot:
    """A named point with the interval of its value: `x`, and `value` between `low` and `high`."""

    name: str
    x: float
    value: float
    low: float
    high: float
    style: str


class Axis:
    """A scale from data to pixels, linear or logarithmic, with round ticks."""

    def __init__(self, low: float, high: float, start: float, end: float, log: bool = False) -> None:
        """Maps [low, high], widened to round numbers unless logarithmic, to [start, end]."""
        self._log = log and low > 0
        self.ticks = _log_ticks(low, high) if self._log else _linear_ticks(low, high)
        self.low, self.high = min(low, self.ticks[0]), max(high, self.ticks[-1])
        if self._log:
            self.low, self.high = low, high
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high, at = (
            (math.log(v) for v in (self.low, self.high, value)) if self._log else (self.low, self.high, value)
        )
        share = (at - low) / (high - low) if high > low else 0.5
        return self._start + share * (self._end - self._start)

    def label(self, tick: float) -> str:
        """The tick as text, as short as the spacing allows."""
        if tick and abs(tick) >= 10_000:
            return f"{tick / 1000:g}k"
        return f"{tick:.6g}"


def line_chart(title: str, lines: Sequence[Line], x_label: str, y_label: str, log_y: bool = False) -> str:
    """Lines over a common x axis. Empty text when there is no point."""
    points = [point for line in lines for point in line.points]
    if not points:
        return ""
    x_axis = Axis(min(x for x, _ in points), max(x for x, _ in points), _LEFT, WIDTH - _RIGHT)
    y_axis = Axis(min(y for _, y in points), max(y for _, y in points), HEIGHT - _BOTTOM, _TOP, log_y)
    body = _frame(x_axis, y_axis, x_label, y_label)
    for line in lines:
        pixels = [(x_axis(x), y_axis(y)) for x, y in line.points]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in pixels)
        values = ";".join(
            f"{x:g},{y:.4g},{px:.1f},{py:.1f}" for (x, y), (px, py) in zip(line.points, pixels, strict=True)
        )
        body += f'<path class="line {line.style}" d="{path}" data-name="{escape(line.name)}" data-points="{values}"/>'
        if line.marked:
            body += "".join(f'<circle class="dot {line.style}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in pixels)
    names = ", ".join(f"{line.name} ends at {line.points[-1][1]:.4g}" for line in lines if line.points)
    return drawing(title, f"{y_label} against {x_label}: {names}.", body, "chart hover")


def interval_chart(title: str, dots: Sequence[Dot], x_label: str, baseline: tuple[float, str] | None) -> str:
    """One row per dot: its value and interval along the x axis, and the baseline as a dashed line. `x` is not used."""
    if not dots:
        return ""
    row, height = 26, 26 * len(dots) + _TOP + _BOTTOM
    left = min(max(92.0, _LETTER * max(len(dot.name) for dot in dots) + 18), WIDTH / 2)
    ends = [end for dot in dots for end in (dot.low, dot.high)] + ([baseline[0]] if baseline else [])
    axis = Axis(min(ends), max(ends), left, WIDTH - _RIGHT - 36)
    bottom = height - _BOTTOM
    body = ""
    for tick in axis.ticks:
        x = axis(tick)
        body += f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
        body += f'<text class="tick" x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{axis.label(tick)}</text>'
    if baseline:
        x = axis(baseline[0])
        body += f'<line class="baseline" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
    for index, dot in enumerate(dots):
        y = _TOP + (index + 0.5) * row
        body += f'<text class="name" x="{left - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(dot.name)}</text>'
        body += (
            f'<line class="whisker {dot.style}" x1="{axis(dot.low):.1f}" x2="{axis(dot.high):.1f}" y1="{y}" y2="{y}"/>'
        )
        body += f'<circle class="dot {dot.style}" cx="{axis(dot.value):.1f}" cy="{y}" r="4.5"/>'
        body += f'<text class="value" x="{WIDTH - 4}" y="{y + 4:.1f}" text-anchor="end">{dot.value:.3f}</text>'
    body += f'<text class="axis" x="{(left + WIDTH - _RIGHT - 36) / 2}" y="{height - 4}" text-anchor="middle">'
    body += f"{escape(x_label)}</text>"
    said = ", ".join(f"{dot.name} {dot.value:.3f} (95 % interval {dot.low:.3f} to {dot.high:.3f})" for dot in dots)
    base = f" Baseline: {baseline[1]} {baseline[0]:.3f}." if baseline else ""
    return drawing(title, said + "." + base, body, "chart", height)


def scatter_chart(
    title: str, dots: Sequence[Dot], x_label: str, y_label: str, log_x: bool = False, lower_is_better: bool = False
) -> str:
    """Named points with vertical intervals and their Pareto front. The x axis begins at 0 unless logarithmic.

    Points on the front are filled: nothing else is both cheaper and at least as good, or better and as cheap.
    """
    if not dots:
        return ""
    xs = [dot.x for dot in dots]
    x_axis = Axis(min(xs) / 1.5, max(xs) * 1.5, _LEFT, WIDTH - _RIGHT, log_x)
    if not log_x:
        x_axis = Axis(0.0, max(xs) * 1.15, _LEFT, WIDTH - _RIGHT)
    y_axis = Axis(min(d.low for d in dots), max(d.high for d in dots), HEIGHT - _BOTTOM, _TOP)
    front = pareto_front(dots, lower_is_better)
    body = _frame(x_axis, y_axis, x_label, y_label) + _front_line(front, x_axis, y_axis)
    places = [(x_axis(dot.x), y_axis(dot.value)) for dot in dots]
    for dot, (x, _) in zip(dots, places, strict=True):
        body += f'<line class="whisker {dot.style}" x1="{x:.1f}" x2="{x:.1f}" '
        body += f'y1="{y_axis(dot.low):.1f}" y2="{y_axis(dot.high):.1f}"/>'
    for dot, (x, y) in zip(dots, places, strict=True):
        said = f"{dot.name}: {dot.x:.4g}, {dot.value:.3f} ({dot.low:.3f} to {dot.high:.3f})"
        body += f'<circle class="dot {"" if dot in front else "hollow "}{dot.style}" cx="{x:.1f}" cy="{y:.1f}" r="5">'
        body += f"<title>{escape(said)}</title></circle>"
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in places]
    whiskers = [(x, y_axis(dot.high), x, y_axis(dot.low)) for dot, (x, _) in zip(dots, places, strict=True)]
    named = sorted(zip(dots, places, strict=True), key=lambda pair: pair[0] not in front)  # the front's names first
    body += "".join(_label(dot.name, x, y, taken, whiskers) for dot, (x, y) in named)
    said = ", ".join(f"{dot.name}: {dot.x:.4g}, {dot.value:.3f}" for dot in dots)
    on_front = ", ".join(dot.name for dot in front)
    return drawing(title, f"{y_label} against {x_label}. {said}. Pareto front: {on_front}.", body, "chart")


def pareto_front(dots: Sequence[Dot], lower_is_better: bool = False) -> list[Dot]:
    """The dots that no other dominates, the cheapest first: less `x` is better, more `value` unless told otherwise."""
    sign = -1.0 if lower_is_better else 1.0
    front: list[Dot] = []
    for dot in sorted(dots, key=lambda dot: (dot.x, -sign * dot.value)):
        equal = bool(front) and (dot.x, dot.value) == (front[-1].x, front[-1].value)
        if not front or equal or sign * dot.value > sign * front[-1].value:
            front.append(dot)
    return front


def _front_line(front: Sequence[Dot], x_axis: Axis, y_axis: Axis) -> str:
    """Steps: between two points of the front, the best that can be had is the cheaper one."""
    if len(front) < 2:
        return ""
    path = f"M{x_axis(front[0].x):.1f} {y_axis(front[0].value):.1f}"
    path += "".join(f"H{x_axis(dot.x):.1f}V{y_axis(dot.value):.1f}" for dot in front[1:])
    return f'<path class="front" d="{path}"/>'


def interval_bar(value: float, low: float, high: float, baseline: float | None, domain: tuple[float, float]) -> str:
    """A table cell's drawing: the interval as a bar, the value as a tick in it, the baseline as a thin line."""
    axis = _span(domain, 2.0, 94.0)
    body = f'<line class="rail" x1="2" x2="94" y1="6" y2="6"/><rect class="interval" x="{axis(low):.1f}" '
    body += f'y="3.5" width="{max(axis(high) - axis(low), 1):.1f}" height="5" rx="2.5"/>'
    body += f'<line class="mark" x1="{axis(value):.1f}" x2="{axis(value):.1f}" y1="1.5" y2="10.5"/>'
    if baseline is not None:
        x = axis(baseline)
        body += f'<line class="base" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="12"/>'
    return f'<svg class="bar" viewBox="0 0 96 12" aria-hidden="true">{body}</svg>'


def drawing(title: str, description: str, body: str, style: str, height: float = HEIGHT) -> str:
    """The frame of every chart: `WIDTH` wide, with a title and a description for those who cannot see it."""
    return (
        f'<svg class="{style}" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{body}</svg>"
    )


def _label(name: str, x: float, y: float, taken: list[Box], whiskers: Sequence[Box]) -> str:
    """The name beside its point; without one where no place is free: the point has its name as a tooltip as well."""
    place = _free_place(name, x, y, [*taken, *whiskers]) or _free_place(name, x, y, taken)
    if place is None:
        return ""
    box, anchor, at = place
    taken.append(box)
    y_text = box[3] - 2
    leader = ""
    if abs(y_text - y) > 16:  # far from its point: a thin line says whose name it is
        leader = f'<line class="leader" x1="{x:.1f}" y1="{y:.1f}" x2="{at:.1f}" y2="{y_text - 4:.1f}"/>'
    text = f'<text class="name halo" x="{at:.1f}" y="{y_text:.1f}" text-anchor="{anchor}">{escape(name)}</text>'
    return leader + text


def _free_place(name: str, x: float, y: float, taken: Sequence[Box]) -> tuple[Box, str, float] | None:
    """Box, anchor and anchored x of the first of some places that lies inside the frame and covers nothing."""
    width, height = _LETTER * len(name), 11.0
    for rise in (4.0, -8.0, 16.0, -20.0, 28.0, -32.0, 40.0, -44.0):
        for anchor, left in (("start", x + 9), ("end", x - 9 - width), ("middle", x - width / 2)):
            box = (left, y + rise - height, left + width, y + rise + 2)
            free = all(box[2] < b[0] or b[2] < box[0] or box[3] < b[1] or b[3] < box[1] for b in taken)
            if free and box[2] < WIDTH and box[0] > _LEFT and box[1] > 0 and box[3] < HEIGHT - _BOTTOM:
                return box, anchor, {"start": left, "end": left + width, "middle": x}[anchor]
    return None


def _span(domain: tuple[float, float], start: float, end: float) -> Callable[[float], float]:
    low, high = domain
    return lambda value: start + (value - low) / (high - low) * (end - start) if high > low else (start + end) / 2


def _frame(x_axis: Axis, y_axis: Axis, x_label: str, y_label: str) -> str:
    bottom, middle = HEIGHT - _BOTTOM, (HEIGHT - _BOTTOM + _TOP) / 2
    body = ""
    for tick in y_axis.ticks:
        y = y_axis(tick)
        body += f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        body += f'<text class="tick" x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{y_axis.label(tick)}</text>'
    for tick in x_axis.ticks:
        x = x_axis(tick)
        body += f'<line class="grid faint" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
        body += f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{x_axis.label(tick)}</text>'
    center = (_LEFT + WIDTH - _RIGHT) / 2
    body += f'<text class="axis" x="{center}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>'
    body += f'<text class="axis" transform="translate(11 {middle}) rotate(-90)" text-anchor="middle">'
    return f"{body}{escape(y_label)}</text>"


def _linear_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers that enclose [low, high], about `wanted` of them."""
    span = max(high - low or abs(high) or 1.0, 1e-200)
    exponent = math.floor(math.log10(span / wanted))
    step = next(10.0**exponent * factor for factor in (1, 2, 2.5, 5, 10) if span / (10.0**exponent * factor) <= wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 1 - exponent) for index in range(first, max(last, first + 1) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten within [low, high]; if there are too few, the linear ticks inside it."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside if len(inside) >= 2 else [tick for tick in _linear_ticks(low, high) if low <= tick <= high] or [low]
