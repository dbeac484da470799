"""clean: documents of a source -> documents worth learning from, and why the rest left."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.records import read_documents, write_documents
from forgeline.core.run import StageRun, command_line
from forgeline.text.clean import CleanParams, clean
from forgeline.text.measure import text_figures


def main(source: str, documents: Path, kept: Path, dropped: Path, metrics: Path) -> None:
    params = load("clean", CleanParams)
    with StageRun(f"clean@{source}", {"clean": params}, metrics) as run:
        result = clean(read_documents(documents), params)
        write_documents(run.output(kept), result.documents)
        write_documents(run.output(dropped), result.dropped)
        run.summarize(result.counts, documents=text_figures(result.documents))


if __name__ == "__main__":
    command_line(main)
