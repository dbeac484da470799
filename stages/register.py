"""register: finished models and their scores -> the MLflow registry, and this result's mirror in MLflow."""

from dataclasses import asdict
from pathlib import Path

from forgeline.core.params import load
from forgeline.core.run import Counts, StageRun, command_line
from forgeline.core.storage import read_json
from forgeline.reporting.lineage import locked_stages_now
from forgeline.tracking.params import RegisterParams
from forgeline.tracking.registry import mirror_or_warn


def main(models: Path, leaderboard: Path, metrics: Path) -> None:
    """Registers the models of params.yaml and mirrors the workspace. Outside the byte promise: versions count up."""
    params = load("register", RegisterParams)
    with StageRun("register", {"register": params}, metrics) as run:
        registered = mirror_or_warn(models, params, read_json(leaderboard), locked_stages_now())
        entries = {Path(model.path).name: asdict(model) for model in registered}
        run.summarize(Counts(len(params.models), len(registered)), models=entries)


if __name__ == "__main__":
    command_line(main)
