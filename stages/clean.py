"""clean: documents of a source -> documents worth learning from, and why the rest left."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.run import StageRun, command_line
from forgeline.text.clean import clean_source
from forgeline.text.clean_params import CleanParams, SourceLanguage
from forgeline.text.imports import keep_pandas_out


def main(source: str, documents: Path, kept: Path, dropped: Path, metrics: Path) -> None:
    params = load("clean", CleanParams)
    section = f"ingest.sources.{source}"
    declared = load(section, SourceLanguage)
    with StageRun(f"clean@{source}", {"clean": params, section: declared}, metrics) as run:
        report = clean_source(source, documents, run.output(kept), run.output(dropped), declared.language, params)
        run.summarize(report.counts, **report.metrics(source))


if __name__ == "__main__":
    keep_pandas_out()
    command_line(main)
