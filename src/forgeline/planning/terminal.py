"""A plan on a terminal: sources, training, stages, and what to think about."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from forgeline.planning.costs import StageCost
from forgeline.planning.plan import Plan

if TYPE_CHECKING:
    from forgeline.planning.step_memory import StepMemory

_MEMBERS_SHOWN = 2  # of a group of stages; more are summed up


def plan_view(plan: Plan) -> RenderableType:
    """The whole plan, readable at 80 characters."""
    parts: list[RenderableType] = [_sources(plan), "", _training(plan), "", _stages(plan)]
    for warning in plan.warnings:
        parts.append(Padding(Text.assemble(("! ", "yellow"), warning), (1, 0, 0, 0)))
    return Group(*parts)


def _sources(plan: Plan) -> Table:
    table = _table("Sources, before cleaning and the removal of copies")
    table.add_column("", overflow="fold")
    for name in ("documents", "text", "tokens", "of all", "in training", "passes"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("known by", overflow="fold", style="dim")
    for source in plan.sources:
        table.add_row(
            source.name,
            _count(source.num_documents),
            _size(source.num_bytes),
            _count(source.num_tokens),
            f"{source.natural_share:.0%}",
            f"{source.training_share:.0%}",
            "?" if source.epochs is None else f"{source.epochs:.2f}",
            source.basis,
        )
    if len(plan.sources) > 1:
        table.add_section()
        table.add_row(
            "total",
            _count(sum(source.num_documents or 0 for source in plan.sources)),
            _size(sum(source.num_bytes or 0 for source in plan.sources)),
            _count(sum(source.num_tokens or 0 for source in plan.sources)),
        )
    table.caption = f"{plan.bytes_per_token:.2f} bytes a token ({plan.bytes_per_token_basis})."
    return table


def _training(plan: Plan) -> Table:
    training = plan.training
    table = _table("Pretraining")
    table.add_column("")
    table.add_column("", justify="right")
    epochs = "?" if training.equivalent_epochs is None else f"{training.equivalent_epochs:.2f}"
    for name, value in (
        ("parameters", f"{training.num_parameters:,}"),
        ("tokens", f"{training.num_tokens:,} = {training.num_steps:,} steps x {training.tokens_per_step:,}"),
        ("passes over the training split", f"{epochs} of {training.num_train_tokens:,} tokens"),
        ("tokens per parameter", f"{training.tokens_per_parameter:.2f} (compute-optimal: about 20)"),
        ("memory of a step", _step_memory(training.step_memory)),
    ):
        table.add_row(name, value)
    table.show_header = False
    return table


def _step_memory(memory: "StepMemory | None") -> str:
    if memory is None:
        return "?"
    state = memory.weights + memory.gradients + memory.optimizer
    return f"{_size(memory.peak)}: state {_size(state)}, activations {_size(memory.activations)}"


def _stages(plan: Plan) -> Table:
    table = _table("Stages")
    table.add_column("", overflow="fold")
    for name in ("time", "memory", "disk"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("time and memory", style="dim")
    for name, members in groupby(plan.stages, key=lambda cost: cost.stage.partition("@")[0]):
        for row in _rows(name, list(members)):
            table.add_row(*row)
    table.add_section()
    table.add_row("total", _time(plan.seconds), f"{_size(plan.memory_bytes)} at most", _size(plan.disk_bytes))
    cache = " The disk of the total counts DVC's copies too." if plan.copies_kept > 1 else ""
    table.caption = f"Stages run one after another. {_size(plan.free_disk_bytes)} of disk are free.{cache}"
    return table


def _rows(name: str, members: Sequence[StageCost]) -> list[tuple[str, str, str, str, str]]:
    if len(members) <= _MEMBERS_SHOWN:
        return [_row(cost.stage, [cost]) for cost in members]
    return [_row(f"{name}@... ({len(members)})", members)]


def _row(label: str, costs: Sequence[StageCost]) -> tuple[str, str, str, str, str]:
    disk = sum(cost.disk_bytes for cost in costs)
    return (
        label,
        _time(sum(cost.seconds for cost in costs)),
        _size(max(cost.memory_bytes for cost in costs)),
        _size(disk) if disk else "",
        " and ".join(sorted({cost.basis for cost in costs})),
    )


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", title_style="bold", caption_justify="left", box=None, padding=(0, 1, 0, 0)
    )


def _count(number: int | None) -> str:
    if number is None:
        return "?"
    return f"{number:,}" if number < 1e6 else f"{number / 1e6:,.1f} M" if number < 1e9 else f"{number / 1e9:,.1f} G"


def _size(num_bytes: float | None) -> str:
    if num_bytes is None:
        return "?"
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.3g} {unit}"
    return f"{num_bytes / 1e3:.3g} kB"


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes < 48 * 60 else f"{minutes / 1440:.1f} days"
