"""Reports for tests that look at one part."""

from pathlib import Path
from typing import Any

from forgeline.core.pipeline import read_pipeline
from forgeline.reporting.html import Content, render_report
from forgeline.reporting.overlay import Overlay
from forgeline.reporting.samples import Limits

NO_EXPERIMENTS = Overlay([], [], 0)


def page_without_models(metrics: Path, learned: dict[str, Any]) -> str:
    """The report before anything was evaluated."""
    content = Content([], [], {}, learned, NO_EXPERIMENTS, "")
    page, _ = render_report(metrics, content, read_pipeline(), {}, Limits(10, 200, 17), 500_000)
    return page
