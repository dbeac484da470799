"""ingest: one source (packaged data or files) -> documents, and which records held none."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.run import StageRun, command_line
from forgeline.sources.hpo_split import HpoParams
from forgeline.sources.ingest import ingest, source_sha256
from forgeline.sources.params import SourcesParams


def main(source: str, path: Path, documents: Path, dropped: Path, metrics: Path) -> None:
    params = load("ingest", SourcesParams)
    hpo = load("hpo", HpoParams)
    with StageRun(f"ingest@{source}", {"ingest": params, "hpo": hpo}, metrics) as run:
        result = ingest(source, path, params, hpo, run.output(documents), run.output(dropped))
        run.summarize(result.counts, sha256=source_sha256(path, params.shard_bytes), **result.figures)


if __name__ == "__main__":
    command_line(main)
