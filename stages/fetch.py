"""fetch: remote data -> its bytes here, pinned, so that the network is needed once."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.run import StageRun, command_line
from forgeline.sources.fetch import fetch
from forgeline.sources.fetch_params import FetchParams, TokenEstimate


def main(name: str, fetched: Path, metrics: Path) -> None:
    section = f"fetch.{name}"
    params, estimate = load(section, FetchParams), load("ingest", TokenEstimate)
    with StageRun(f"fetch@{name}", {section: params, "ingest": estimate}, metrics) as run:
        result = fetch(run.address, params, estimate, run.output(fetched), run.scratch())
        run.summarize(result.counts, **result.figures)


if __name__ == "__main__":
    command_line(main)
