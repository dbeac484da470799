"""What a click on a stage of the graph opens: parameters, code and data with their hashes, figures, the data card."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from forgeline.core.pipeline import PipelineStage
from forgeline.reporting.graph import Edge
from forgeline.reporting.lineage import is_code, locked_params

CARD_STAGE = "card"
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def node_details(
    stages: Sequence[PipelineStage],
    edges: Sequence[Edge],
    lock: Mapping[str, Mapping[str, Any]],
    figures: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """By address, what the page shows of each stage.

    Args:
        stages: The pipeline.
        edges: Which stage needs which.
        lock: Stage entries of dvc.lock.
        figures: Plain figures of the stages' metrics.
    """
    described = _described_by_card(stages, edges)
    return {
        stage.address: {**_details(stage, lock.get(stage.address)), "figures": figures.get(stage.address, {}),
                        "card": stage.address in described}
        for stage in stages
    }  # fmt: skip


def card_page(markdown: str) -> Markup:
    """The data card as HTML, its headings below those of the page; HTML inside it stays text."""
    body = _FRONT_MATTER.sub("", markdown)
    html = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["link", "image", "autolink"]).render(body)
    return Markup(re.sub(r"<(/?)h([1-3])>", lambda match: f"<{match[1]}h{int(match[2]) + 3}>", html))


def _details(stage: PipelineStage, entry: Mapping[str, Any] | None) -> dict[str, Any]:
    hashes = {
        item["path"]: str(item.get("md5", "")) for side in ("deps", "outs") for item in (entry or {}).get(side, [])
    }
    return {
        "command": stage.command,
        "params": locked_params(entry) if entry else {},
        "deps": [[path, hashes.get(path, "")] for path in stage.deps if not is_code(path)],
        "code": [[path, hashes.get(path, "")] for path in stage.deps if is_code(path)],
        "outs": [[path, hashes.get(path, "")] for path in stage.outs],
        "locked": entry is not None,
    }


def _described_by_card(stages: Sequence[PipelineStage], edges: Sequence[Edge]) -> set[str]:
    """The stage that writes the data card, and all that it was made from."""
    parents: dict[str, list[str]] = {}
    for parent, child in edges:
        parents.setdefault(child, []).append(parent)
    found = {stage.address for stage in stages if stage.name == CARD_STAGE}
    queue = list(found)
    while queue:
        new = [parent for parent in parents.get(queue.pop(), []) if parent not in found]
        found.update(new)
        queue += new
    return found
