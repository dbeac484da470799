"""curate: cleaned documents of all sources -> one copy of each, none with a held-out question, split by hash."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.run import StageRun, command_line
from forgeline.evaluation.task_texts import task_texts
from forgeline.sources.params import SourcesParams
from forgeline.text.curate import CurateOutputs, CurateParams, curate, source_shards
from forgeline.text.evaluation_texts import pair_texts, question_texts
from forgeline.text.imports import keep_pandas_out


def main(
    documents: Path,
    questions: Path,
    preferences: Path,
    tasks: Path,
    train: Path,
    validation: Path,
    test: Path,
    dropped: Path,
    clusters: Path,
    manifest: Path,
    metrics: Path,
) -> None:
    params = load("curate", CurateParams)
    sources = load("ingest", SourcesParams)
    tables = {"train": train, "validation": validation, "test": test, "dropped": dropped}
    with StageRun("curate", {"curate": params, "ingest": sources}, metrics) as run:
        outputs = CurateOutputs(
            folders={name: run.output(path) for name, path in tables.items()},
            names={name: path.name for name, path in tables.items()},
            clusters=run.output(clusters),
            manifest=run.output(manifest),
        )
        asked = task_texts(tasks)
        result = curate(
            source_shards(documents, list(sources.sources)),
            [question_texts(questions), pair_texts(preferences), asked.evaluation_set()],
            params,
            outputs,
            train.parent,
        )
        run.summarize(result.counts, **result.figures, unchecked=list(asked.unchecked))


if __name__ == "__main__":
    keep_pandas_out()
    command_line(main)
