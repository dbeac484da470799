"""The `forgeline` command. Every subcommand imports what it needs when it runs, so that none pays for another."""

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from forgeline.core.errors import ForgelineError, ParamsError, StopRequested, describe_os_error

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
PRESETS = Path("presets")
LEADERBOARD = Path("metrics/leaderboard.json")


@app.command()
def check(quiet: Annotated[bool, typer.Option(help="Say nothing when all is well.")] = False) -> None:
    """Validate all of params.yaml before anything runs."""
    from forgeline.check import check as check_params

    num_sections = check_params()
    if not quiet:
        print(f"params.yaml: {num_sections} sections, all valid")


@app.command()
def preset(name: Annotated[str, typer.Argument(help="default, smoke, ...")]) -> None:
    """Replace params.yaml by a complete preset; the replaced file is kept as params.yaml.bak."""
    from forgeline.check import check as check_params

    source = PRESETS / f"{name}.yaml"
    if not source.is_file():
        known = ", ".join(sorted(path.stem for path in PRESETS.glob("*.yaml")))
        raise ParamsError(f"there is no preset '{name}': choose one of {known}")
    check_params(source)
    target = Path("params.yaml")
    if target.exists():
        shutil.copyfile(target, target.with_suffix(".yaml.bak"))
    shutil.copyfile(source, target)
    print(f"params.yaml is now preset '{name}' (the old one is params.yaml.bak)")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def repro(context: typer.Context) -> None:
    """Run `dvc repro` (any arguments are passed on), then show the leaderboard and where the report is."""
    from forgeline.core.run import check_params_once
    from forgeline.repro import announce_result, reproduce

    check_params_once()
    start = time.monotonic()
    status, num_run = reproduce(context.args)
    announce_result(status, num_run, time.monotonic() - start)
    raise typer.Exit(status)


@app.command()
def leaderboard() -> None:
    """Print the scores of all evaluated models."""
    from rich.console import Console

    from forgeline.core.storage import read_json
    from forgeline.reporting.terminal import leaderboard_table

    Console().print(leaderboard_table(read_json(LEADERBOARD)["rows"]))


@app.command()
def lineage(path: Annotated[Path, typer.Argument(help="A model, data or metrics path of dvc.yaml.")]) -> None:
    """Print the chain from an output back to its sources: hashes, params, code revision."""
    from rich.console import Console

    from forgeline.reporting.lineage import lineage as trace
    from forgeline.reporting.lineage import lineage_tree

    Console().print(lineage_tree(path, trace(path)))


@app.command()
def sync() -> None:
    """Mirror all DVC revisions and experiments into MLflow; doing it twice changes nothing."""
    from forgeline.tracking.store import explain_store_errors
    from forgeline.tracking.sync import sync_all

    with explain_store_errors():
        report = sync_all()
    print(f"MLflow: {report.num_new} results added, {report.num_known} were there")


def main() -> None:
    """Entry point: expected errors become one message and a non-zero exit status."""
    try:
        app()
    except ForgelineError as error:
        print(f"forgeline: {error}", file=sys.stderr)
        sys.exit(1)
    except (StopRequested, KeyboardInterrupt):
        print("forgeline: stopped", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        print(f"forgeline: {describe_os_error(error)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    main()
