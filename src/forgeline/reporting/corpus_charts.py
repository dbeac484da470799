"""The drop funnel and the source mix as inline SVG, in the manner of `plots`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from forgeline.reporting.corpus import FunnelStage, Mix
from forgeline.reporting.plots import WIDTH, drawing

MAX_SOURCES = 8  # with a colour of their own; the smallest of more are drawn together
OTHERS = "others"

_BAR = 13.0
_ROW = 17.0
_GAP = 20.0
_INDENT = 16.0
_SMALL_BAR = (236.0, 82.0)  # start and greatest length of the bars beside the reasons
_NARROWEST_SHARE = 0.09  # of the width, that a percentage fits into


@dataclass(frozen=True)
class Family:
    """Reasons that belong together: one colour, one heading.

    Attributes:
        title: The heading.
        style: CSS class of the colour.
        beginnings: A reason belongs to the first family of which it has a beginning.
        prefix: What the heading says already, and the names below it leave out.
    """

    title: str
    style: str
    beginnings: tuple[str, ...]
    prefix: str = ""


FAMILIES = (
    Family("input", "s8", ("empty", "over_")),
    Family("length", "s2", ("too_",)),
    Family("language", "s5", ("language",)),
    Family("Gopher repetition", "s6", ("gopher_empty", "gopher_duplicate_", "gopher_top_"), "gopher_"),
    Family("Gopher quality", "s4", ("gopher_",), "gopher_"),
    Family("C4", "s7", ("c4_",), "c4_"),
    Family("FineWeb", "s3", ("fineweb_",), "fineweb_"),
    Family("copies", "s2", ("exact_duplicate", "near_duplicate", "duplicate_prompt")),
    Family("evaluation texts", "s6", ("contaminated",)),
    Family("other reasons", "s5", ("",)),
)


def funnel_chart(title: str, stages: Sequence[FunnelStage], unit: str = "documents") -> str:
    """For each stage a bar of what it kept and dropped, and below it every reason by family. Empty without stages."""
    if not stages:
        return ""
    body, y = "", 0.0
    for number, stage in enumerate(stages):
        drawn, y = _stage(stage, y + (_GAP if number else 0.0))
        body += drawn
    said = " ".join(_sentence(stage, unit) for stage in stages)
    return drawing(title, said, body, "chart", y + 4)


def mix_chart(title: str, rows: Sequence[Mix], styles: Mapping[str, str], unit: str) -> str:
    """One bar for each point of the pipeline, divided by source. Empty without rows.

    Args:
        title: What is measured.
        rows: The mixes, in the order of the pipeline.
        styles: CSS class of each source; sources without one are drawn together as `OTHERS`.
        unit: Of the totals: `documents`, `bytes`, or nothing where the amounts are shares.
    """
    body, y = "", 0.0
    for row in rows:
        total = f"{amount_text(row.total)} {unit}" if row.total > 1.5 else ""
        body += _ends(y + 11, row.point, total, "name strong")
        body += _segments(
            [(amount, styles[name]) for name, amount in fold_sources(row.amounts, styles).items()], y + 17
        )
        y += 17 + _BAR + _GAP - 4
    said = " ".join(
        f"{row.point}: {', '.join(f'{name} {_percent(amount, row.total)}' for name, amount in row.amounts.items())}."
        for row in rows
    )
    return drawing(title, said, body, "chart", y - _GAP + 8) if rows else ""


def source_styles(mixes: Sequence[Mix]) -> dict[str, str]:
    """A CSS class for each source, those of most weight first if there are too many, the rest as `OTHERS`."""
    sources = list(dict.fromkeys(name for mix in mixes for name in mix.amounts))
    if len(sources) <= MAX_SOURCES:
        return {name: f"s{number}" for number, name in enumerate(sources, start=1)}
    weight = {name: max(mix.amounts.get(name, 0.0) / mix.total for mix in mixes) for name in sources}
    largest = sorted(sources, key=lambda name: -weight[name])[: MAX_SOURCES - 1]
    chosen = [name for name in sources if name in largest]
    return {name: f"s{number}" for number, name in enumerate([*chosen, OTHERS], start=1)}


def fold_sources(amounts: Mapping[str, float], styles: Mapping[str, str]) -> dict[str, float]:
    """The amounts by the names of `styles`: what has no class of its own is added up."""
    folded = dict.fromkeys(styles, 0.0)
    for name, amount in amounts.items():
        folded[name if name in styles else OTHERS] += amount
    return folded


def amount_text(amount: float) -> str:
    """A number of documents, bytes or tokens in at most four figures: `3,416`, `18.4 k`, `1.22 M`."""
    for factor, suffix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e4, " k")):
        if amount >= factor:
            return f"{amount / (1e3 if factor == 1e4 else factor):.3g}{suffix}"
    return f"{amount:,.0f}"


def family_of(reason: str) -> Family:
    """The family that a reason belongs to."""
    return next(family for family in FAMILIES if reason.startswith(family.beginnings))


def _stage(stage: FunnelStage, y: float) -> tuple[str, float]:
    """The drawing of one stage from height `y` on, and where it ends."""
    families: dict[Family, list[tuple[str, int]]] = {}
    for reason, number in stage.dropped:
        families.setdefault(family_of(reason), []).append((reason, number))
    ordered = sorted(families.items(), key=lambda item: FAMILIES.index(item[0]))
    kept = f"{stage.num_out:,} of {stage.num_in:,} kept ({_percent(stage.num_out, stage.num_in)})"
    body = _ends(y + 11, stage.stage, kept, "name strong")
    parts = [(stage.num_out, "kept")]
    parts += [(sum(number for _, number in reasons), family.style) for family, reasons in ordered]
    body += _segments(parts, y + 17, labels=False)
    y += 17 + _BAR + 5
    largest = max((number for _, number in stage.dropped), default=0)
    for family, reasons in ordered:
        drawn, y = _family(family, reasons, stage.num_in, largest, y)
        body += drawn
    return body, y


def _family(
    family: Family, reasons: Sequence[tuple[str, int]], num_in: int, largest: int, y: float
) -> tuple[str, float]:
    """A heading with the sum if there are several reasons, then each with its bar and number."""
    body = f'<rect class="fill {family.style}" x="0" y="{y + 4:.1f}" width="9" height="9" rx="2"/>'
    if len(reasons) > 1:
        total = sum(number for _, number in reasons)
        body += _ends(y + 12.5, family.title, f"{total:,} ({_percent(total, num_in)})", "name", _INDENT)
        y += _ROW
    start, length = _SMALL_BAR
    for reason, number in reasons:
        indent = _INDENT * (2 if len(reasons) > 1 else 1)
        name = reason.removeprefix(family.prefix) if len(reasons) > 1 else reason
        body += f'<text class="tick" x="{indent:g}" y="{y + 12.5:.1f}">{escape(name.replace("_", " "))}</text>'
        body += f'<text class="tick" x="{WIDTH}" y="{y + 12.5:.1f}" text-anchor="end">'
        body += f"{number:,} ({escape(_percent(number, num_in))})</text>"
        width = max(length * number / largest, 1.0)
        body += f'<rect class="fill {family.style} soft" x="{start:g}" y="{y + 5:.1f}" width="{width:.1f}" height="7"/>'
        y += _ROW
    return body, y


def _ends(y: float, left: str, right: str, style: str, indent: float = 0.0) -> str:
    """Two texts at the ends of a line."""
    return (
        f'<text class="{style}" x="{indent:g}" y="{y:.1f}">{escape(left)}</text>'
        f'<text class="tick" x="{WIDTH}" y="{y:.1f}" text-anchor="end">{escape(right)}</text>'
    )


def _segments(parts: Sequence[tuple[float, str]], y: float, labels: bool = True) -> str:
    """A bar over the whole width, divided in proportion; wide parts say their share."""
    total = sum(amount for amount, _ in parts)
    x, body = 0.0, ""
    for amount, style in parts:
        width = WIDTH * amount / total if total else 0.0
        if width > 0:
            body += f'<rect class="fill {style}" x="{x:.2f}" y="{y:.1f}" width="{width:.2f}" height="{_BAR:g}"/>'
        if labels and width > _NARROWEST_SHARE * WIDTH:
            body += f'<text class="on" x="{x + width / 2:.1f}" y="{y + 10:.1f}" text-anchor="middle">'
            body += f"{escape(_percent(amount, total))}</text>"
        x += width
    return body


def _percent(part: float, whole: float) -> str:
    """A share with one digit after the point where it matters: `0.4 %`, `12 %`, `99.6 %`."""
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.05:
        return "<0.1 %"
    return f"{share:.0f} %" if share in (0, 100) or 10 <= share <= 90 else f"{min(share, 99.9):.1f} %"


def _sentence(stage: FunnelStage, unit: str) -> str:
    dropped = ", ".join(f"{reason.replace('_', ' ')} {number:,}" for reason, number in stage.dropped) or "nothing"
    return f"{stage.stage} kept {stage.num_out:,} of {stage.num_in:,} {unit}; dropped: {dropped}."
