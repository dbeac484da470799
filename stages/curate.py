"""curate: cleaned documents of all sources -> one copy of each, none with a held-out question, split by hash."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.records import EvalSample, read_records, write_documents
from forgeline.core.run import StageRun, command_line
from forgeline.sources.params import SourcesParams
from forgeline.text.curate import CurateParams, curate, read_sources
from forgeline.text.measure import text_figures


def main(
    documents: Path, questions: Path, train: Path, validation: Path, test: Path, dropped: Path, metrics: Path
) -> None:
    params = load("curate", CurateParams)
    sources = load("ingest", SourcesParams)
    with StageRun("curate", {"curate": params, "ingest": sources}, metrics) as run:
        cleaned = read_sources(documents, list(sources.sources))
        result = curate(cleaned, read_records(questions, EvalSample), params)
        write_documents(run.output(train), result.splits["train"])
        write_documents(run.output(validation), result.splits["validation"])
        write_documents(run.output(test), result.splits["test"])
        write_documents(run.output(dropped), result.dropped)
        run.summarize(result.counts, **{split: text_figures(table) for split, table in result.splits.items()})


if __name__ == "__main__":
    command_line(main)
