"""ingest: one source (packaged data or a file) -> documents, and which records held none."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.records import write_documents
from forgeline.core.run import StageRun, command_line
from forgeline.sources.hpo_split import HpoParams
from forgeline.sources.ingest import ingest
from forgeline.sources.params import SourceParams
from forgeline.text.measure import text_figures


def main(source: str, file: Path, documents: Path, dropped: Path, metrics: Path) -> None:
    section = f"ingest.sources.{source}"
    params = load(section, SourceParams)
    hpo = load("hpo", HpoParams)
    with StageRun(f"ingest@{source}", {section: params, "hpo": hpo}, metrics) as run:
        result = ingest(source, file, params, hpo)
        write_documents(run.output(documents), result.documents)
        write_documents(run.output(dropped), result.dropped)
        run.summarize(result.counts, documents=text_figures(result.documents))


if __name__ == "__main__":
    command_line(main)
