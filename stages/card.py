"""card: parameters, metrics and hashes of the data stages -> the data card."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.run import Counts, StageRun, command_line
from forgeline.sources.fetch_params import FetchParams
from forgeline.sources.params import SourcesParams
from forgeline.text.card import CardInputs, CardParams, data_card, fetched_by, read_corpus
from forgeline.text.clean_params import CleanParams


def main(ingest: Path, clean: Path, curate: Path, manifest: Path, card: Path, metrics: Path) -> None:
    params, sources, rules = load("card", CardParams), load("ingest", SourcesParams), load("clean", CleanParams)
    fetch = {name: load(f"fetch.{name}", FetchParams) for name in fetched_by(sources)}
    sections = {"card": params, "ingest": sources, "clean": rules, **{f"fetch.{name}": fetch[name] for name in fetch}}
    with StageRun("card", sections, metrics) as run:
        corpus = read_corpus(sources, fetch, rules.model_dump(mode="json"), CardInputs(ingest, clean, curate, manifest))
        text = data_card(params, corpus)
        run.output(card).write_text(text, encoding="utf-8")
        num_sources = len(sources.sources)
        run.summarize(Counts(num_sources, num_sources), card_bytes=len(text.encode("utf-8")))


if __name__ == "__main__":
    command_line(main)
