"""evaluate: a model and held-out data -> scores with intervals and baselines, and the evidence for each sample."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.records import EvalSample, PreferencePair, read_documents, read_records
from forgeline.core.run import StageRun, command_line
from forgeline.core.storage import read_json, write_jsonl
from forgeline.evaluation.evaluate import evaluate
from forgeline.evaluation.params import BUILT_IN_TASKS, ScoringParams
from forgeline.evaluation.task_files.load import load_tasks
from forgeline.evaluation.tasks.base import HeldOut, NgramBaseline, Subject
from forgeline.evaluation.work import Journal, write_timings
from forgeline.model.compute import set_up
from forgeline.model.loading import load_model
from forgeline.model.params import ComputeParams
from forgeline.tokenization.loading import load_tokenizer


def main(
    model: Path,
    documents: Path,
    questions: Path,
    preferences: Path,
    tasks: Path,
    baseline: Path,
    samples: Path,
    timings: Path,
    metrics: Path,
) -> None:
    scoring = load("evaluate.scoring", ScoringParams)
    compute = load("compute", ComputeParams)
    with StageRun(f"evaluate@{model.name}", {"evaluate.scoring": scoring, "compute": compute}, metrics) as run:
        table = read_documents(documents)
        ngram = read_json(baseline)
        held_out = HeldOut(
            list(zip(table["doc_id"].to_pylist(), table["text"].to_pylist(), strict=True)),
            read_records(questions, EvalSample),
            read_records(preferences, PreferencePair),
            NgramBaseline(ngram["ngram_order"], ngram["ngram_bits_per_byte"]),
        )
        from_files = load_tasks(tasks, [name for name in scoring.tasks if name not in BUILT_IN_TASKS])
        device = set_up(compute, scoring.seed)
        journal = Journal(run.scratch())
        subject = Subject(load_model(model, device), load_tokenizer(model))
        evaluation = evaluate(subject, held_out, scoring, from_files, journal)
        write_jsonl(run.output(samples), evaluation.samples)
        write_timings(run.output(timings), journal, evaluation.samples)
        run.summarize(
            evaluation.counts, model=model.name, tasks=evaluation.tasks, methods=evaluation.methods,
            confusions=evaluation.confusions,
        )  # fmt: skip


if __name__ == "__main__":
    command_line(main)
