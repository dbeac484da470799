"""report: all metrics and samples -> the leaderboard and one self-contained page."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.pipeline import read_pipeline
from forgeline.core.run import Counts, StageRun, command_line
from forgeline.core.storage import read_json, write_csv, write_json
from forgeline.reporting.comparison import compare
from forgeline.reporting.html import Content, render_report
from forgeline.reporting.leaderboard import as_csv, collect_rows, model_parents, not_evaluated
from forgeline.reporting.lineage import locked_stages_now
from forgeline.reporting.names import name_rows
from forgeline.reporting.overlay import overlay
from forgeline.reporting.params import ReportParams
from forgeline.reporting.samples import Limits, read_evidence
from forgeline.tracking.git import workspace


def main(
    metrics_folder: Path,
    samples: Path,
    learned: Path,
    card: Path,
    html: Path,
    leaderboard_json: Path,
    leaderboard_csv: Path,
    metrics: Path,
) -> None:
    """Compares the models. Outside the byte promise: it shows measured times and the code revision."""
    params = load("report", ReportParams)
    with StageRun("report", {"report": params}, metrics) as run:
        stages, lock = read_pipeline(), locked_stages_now()
        order = [stage.address.partition("@")[2] for stage in stages if stage.name == "evaluate"]
        evidence = read_evidence(samples, metrics_folder, order)
        parents = model_parents(stages, evidence)
        rows = collect_rows(metrics_folder, order, parents, compare(evidence, parents))
        rows = name_rows(rows, lock, workspace().read)
        missing = not_evaluated(metrics_folder, order, lock)
        write_json(run.output(leaderboard_json), {"rows": rows, "missing": missing})
        write_csv(run.output(leaderboard_csv), as_csv(rows))
        experiments = overlay(params.max_revisions)
        text = card.read_text(encoding="utf-8")
        content = Content(rows, missing, evidence, read_json(learned), experiments, text)
        limits = Limits(params.max_samples_per_task, params.max_text_characters, params.seed)
        page, packed = render_report(metrics_folder, content, stages, lock, limits, params.max_page_bytes)
        run.output(html).write_text(page, encoding="utf-8")
        num_samples, num_shown = sum(map(len, evidence.values())), packed.num_answers
        counts = Counts(num_samples, num_shown, {"not_shown": num_samples - num_shown})
        run.summarize(counts, num_models=len(rows), report_bytes=len(page.encode("utf-8")))


if __name__ == "__main__":
    command_line(main)
