"""report: all metrics and samples -> the leaderboard and one self-contained page."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.pipeline import read_pipeline
from forgeline.core.run import Counts, StageRun, command_line
from forgeline.core.storage import read_json, read_jsonl, write_csv, write_json
from forgeline.reporting.comparison import compare
from forgeline.reporting.generations import choose_questions
from forgeline.reporting.html import render_report
from forgeline.reporting.leaderboard import as_csv, collect_rows, model_parents
from forgeline.reporting.lineage import locked_stages_now
from forgeline.reporting.names import name_rows
from forgeline.reporting.params import ReportParams
from forgeline.tracking.git import workspace


def main(
    metrics_folder: Path,
    samples: Path,
    learned: Path,
    html: Path,
    leaderboard_json: Path,
    leaderboard_csv: Path,
    metrics: Path,
) -> None:
    """Compares the models. Outside the byte promise: it shows measured times and the code revision."""
    params = load("report", ReportParams)
    with StageRun("report", {"report": params}, metrics) as run:
        stages = read_pipeline()
        order = [stage.address.partition("@")[2] for stage in stages if stage.name == "evaluate"]
        evidence = {m: read_jsonl(samples / m / "samples.jsonl") for m in order if (samples / m).is_dir()}
        parents = model_parents(stages, evidence)
        rows = collect_rows(metrics_folder, order, parents, compare(evidence, parents))
        rows = name_rows(rows, locked_stages_now(), workspace().read)
        questions = choose_questions(evidence, params.samples_per_task, params.seed)
        write_json(run.output(leaderboard_json), {"rows": rows})
        write_csv(run.output(leaderboard_csv), as_csv(rows))
        page = render_report(metrics_folder, rows, questions, stages, locked_stages_now(), read_json(learned))
        run.output(html).write_text(page, encoding="utf-8")
        num_samples, num_shown = sum(map(len, evidence.values())), len(questions) * len(evidence)
        counts = Counts(num_samples, num_shown, {"not_shown": num_samples - num_shown})
        run.summarize(counts, num_models=len(rows), report_bytes=len(page.encode("utf-8")))


if __name__ == "__main__":
    command_line(main)
