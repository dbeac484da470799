"""A trace on a terminal: one tree for each document, from its source to where it is or where it left."""

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text
from rich.tree import Tree

from forgeline.text.trace import Journey, Relative, Step, Trace

_ID_DIGITS = 12  # of 32: enough to be searched for again


def trace_view(trace: Trace) -> RenderableType:
    """All journeys, and how many more documents were found."""
    parts: list[RenderableType] = [_tree(journey) for journey in trace.journeys]
    if trace.num_more:
        parts.append(Text(f"{trace.num_more} more documents were found: give a longer passage or a doc_id", "dim"))
    return Group(*parts)


def _tree(journey: Journey) -> Tree:
    tree = Tree(f"[bold]{journey.doc_id}[/bold]  [dim]source[/dim] {escape(journey.source)}")
    tree.add(Text(journey.text, "dim"))
    doc_id = journey.doc_id
    for step in journey.steps:
        branch = tree.add(_line(step, doc_id))
        if step.threshold and not step.now:
            branch.add(Text(f"by {step.threshold}", "dim"))
        if step.now:
            by = f" (by {step.threshold})" if step.threshold else ""
            branch.add(Text(f"with params.yaml as it is now: {step.now}{by}", "yellow"))
        for relative in step.relatives:
            branch.add(_relative(relative))
        doc_id = step.doc_id
    return tree


def _line(step: Step, doc_id_before: str) -> str:
    if step.outcome == "unknown":
        return f"[cyan]{step.stage}[/cyan]  [dim]has not run yet[/dim]"
    if step.outcome == "dropped":
        detail = f"  [dim]{escape(step.detail)}[/dim]" if step.detail and not _is_id(step.detail) else ""
        return f"[cyan]{step.stage}[/cyan]  [red]dropped[/red]: {escape(step.reason)}{detail}"
    outcome = "kept" if step.outcome == "kept" else f"kept, in the split [bold]{step.outcome}[/bold]"
    renamed = f"  [dim]as {step.doc_id}[/dim]" if step.doc_id != doc_id_before else ""
    return f"[cyan]{step.stage}[/cyan]  [green]{outcome}[/green]{renamed}"


def _relative(relative: Relative) -> Text:
    alike = f", similarity {relative.similarity:.2f}" if relative.similarity is not None else ""
    place = {"": "", "dropped": " that was dropped itself"}.get(relative.place, f" in the split {relative.place}")
    what = {
        "survivor": f"copy of a document{place}{alike}",
        "exact": "an exact copy of it was dropped",
        "near": f"a near copy of it was dropped{alike}",
        "question": "shares words with a held-out question",
        "pair": "shares words with a held-out preference pair",
        "task_question": "shares words with a question of a task file",
    }[relative.kind]
    record_id = relative.record_id
    return Text.assemble(
        f"{what}: ", record_id[:_ID_DIGITS] if _is_id(record_id) else record_id, "  ", (relative.text, "dim")
    )


def _is_id(text: str) -> bool:
    return len(text) == 32 and set(text) <= set("0123456789abcdef")
