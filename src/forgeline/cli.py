"""The `forgeline` command. Every subcommand imports what it needs when it runs, so that none pays for another."""

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from forgeline.core.errors import ForgelineError, ParamsError, StopRequested, describe_os_error

if TYPE_CHECKING:
    from forgeline.sources.conversations.commands import Verdict

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
source = typer.Typer(no_args_is_help=True, help="The sources of params.yaml.")
app.add_typer(source, name="source")
PRESETS = Path("presets")
LEADERBOARD = Path("metrics/leaderboard.json")
DATA = Path("data")


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


@app.command()
def model(name: Annotated[str, typer.Argument(help="3m, 9m, 23m, 42m, 124m, 350m or 1b.")]) -> None:
    """Put an architecture of a known size into params.yaml, and tell what training it takes."""
    from forgeline.check import check as check_params
    from forgeline.core.params import PARAMS_FILE, plain, read_yaml
    from forgeline.model.presets import read_preset, use_preset
    from forgeline.planning.model_view import model_view

    chosen = read_preset(name)
    use_preset(chosen, check_params)
    print(model_view(chosen, plain(read_yaml(PARAMS_FILE))))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def repro(
    context: typer.Context,
    runner: Annotated[str | None, typer.Option(help="local or ray, for the stages of the corpus.")] = None,
    workers: Annotated[str | None, typer.Option(help="How many of their tasks run at once.")] = None,
) -> None:
    """Run `dvc repro` (any other arguments are passed on), then show the leaderboard and where the report is."""
    from forgeline.repro import announce_result, check_params, reproduce
    from forgeline.runner.tasks import choose_runner

    choose_runner(runner, workers)
    check_params()
    start = time.monotonic()
    outcome = reproduce(context.args)
    announce_result(outcome, time.monotonic() - start)
    raise typer.Exit(outcome.status)


@app.command()
def plan(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    offline: Annotated[bool, typer.Option(help="Do not ask servers how large their files are.")] = False,
) -> None:
    """Estimate what a run of params.yaml reads and takes: documents, tokens, passes, time, memory, disk."""
    from rich.console import Console

    from forgeline.check import check as check_params
    from forgeline.planning.plan import make_plan
    from forgeline.planning.terminal import plan_view

    check_params()
    planned = make_plan(Path(), online=not offline)
    if as_json:
        print(json.dumps(planned.as_json(), indent=2, sort_keys=True))
    else:
        Console().print(plan_view(planned))


@app.command()
def trace(
    query: Annotated[str, typer.Argument(help="A doc_id, its first digits, a text or a piece of one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Tell what happened to a document: where it came from, what each stage did with it, and why."""
    from dataclasses import asdict

    from rich.console import Console

    from forgeline.check import TASK_FILES
    from forgeline.core.params import load
    from forgeline.evaluation.task_texts import task_texts
    from forgeline.sources.params import SourcesParams
    from forgeline.text.clean_params import CleanParams
    from forgeline.text.trace import trace as trace_document
    from forgeline.text.trace_files import Folders
    from forgeline.text.trace_rules import Cleaning
    from forgeline.text.trace_view import trace_view

    sources = load("ingest", SourcesParams).sources
    rules = Cleaning(load("clean", CleanParams), {name: source.language for name, source in sources.items()})
    folders = Folders(DATA, Path("metrics"), lambda: task_texts(TASK_FILES).evaluation_set())
    found = trace_document(query, folders, rules)
    if as_json:
        print(json.dumps(asdict(found), indent=2, sort_keys=True, ensure_ascii=False))
    else:
        Console().print(trace_view(found))


@app.command()
def validate(
    files: Annotated[
        list[Path], typer.Argument(help="Files of conversations or preference pairs, or folders of them.")
    ],
    file_format: Annotated[str, typer.Option("--format", help="auto, messages, sharegpt, alpaca, ...")] = "auto",
    fields: Annotated[
        list[str] | None, typer.Option("--field", help="answer=long_answer: what the file calls it.")
    ] = None,
    preferences: Annotated[bool, typer.Option("--preferences", help="The files hold preference data.")] = False,
    errors: Annotated[int, typer.Option(min=1, help="List so many problems; all are counted.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Check instruction or preference data of any format: roles, blanks, types, encoding; 1 if a record is bad."""
    if preferences:
        _validate_preferences(files, file_format, fields or [], errors, as_json)
    from forgeline.sources.conversations.commands import validate as validate_files
    from forgeline.sources.conversations.formats import expected_format

    verdict = validate_files(files, expected_format(file_format, fields or []), errors)
    _tell(verdict, as_json)
    raise typer.Exit(1 if verdict.problems.total else 0)


def _validate_preferences(
    files: list[Path], file_format: str, fields: list[str], errors: int, as_json: bool
) -> NoReturn:
    from rich.console import Console

    from forgeline.sources.conversations.view import problem_lines
    from forgeline.sources.preference_formats import view
    from forgeline.sources.preference_formats.checking import expected_pairs, validate_preferences

    verdict = validate_preferences(files, expected_pairs(file_format, fields), errors)
    if as_json:
        print(json.dumps(view.as_json(verdict), indent=2, ensure_ascii=False))
    else:
        Console().print(view.summary_table(verdict))
        for line in problem_lines(verdict.problems):
            print(line, file=sys.stderr)
    raise typer.Exit(1 if verdict.problems.total else 0)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A file of conversations, or a folder of such files.")],
    target: Annotated[Path, typer.Argument(help="What to write: .jsonl, .json (also .gz or .zst) or .parquet.")],
    file_format: Annotated[str, typer.Option("--format", help="auto, messages, sharegpt, alpaca, ...")] = "auto",
    fields: Annotated[
        list[str] | None, typer.Option("--field", help="answer=long_answer: what the file calls it.")
    ] = None,
    rejected: Annotated[
        Path | None, typer.Option(help="Write bad records here, with reasons, and convert the rest.")
    ] = None,
    errors: Annotated[int, typer.Option(min=1, help="List so many problems; all are counted.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Write instruction data of any format as messages; with a bad record nothing is written but with --rejected."""
    from forgeline.sources.conversations.commands import InvalidRecords
    from forgeline.sources.conversations.commands import convert as convert_files
    from forgeline.sources.conversations.formats import expected_format

    try:
        verdict = convert_files(source, target, expected_format(file_format, fields or []), errors, rejected)
    except InvalidRecords as error:
        _tell(error.verdict, as_json)
        raise
    _tell(verdict, as_json)


def _tell(verdict: "Verdict", as_json: bool) -> None:
    from rich.console import Console

    from forgeline.sources.conversations import view

    if as_json:
        print(json.dumps(view.as_json(verdict), indent=2, ensure_ascii=False))
        return
    for line in view.format_lines(verdict):
        print(line)
    Console().print(view.summary_table(verdict))
    for line in view.problem_lines(verdict.problems):
        print(line, file=sys.stderr)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A model folder, models/grpo for instance.")],
    target: Annotated[Path, typer.Argument(help="The .gguf file, or a folder for one with the full name.")],
    kind: Annotated[str, typer.Option("--type", help="f32, f16, bf16, q8_0, q5_0 or q4_0.")] = "f16",
) -> None:
    """Write a model as one GGUF file, with tokenizer and chat template, for llama.cpp."""
    from forgeline.export.gguf import export_gguf
    from forgeline.reporting.names import name_here

    if target.suffix != ".gguf":
        target = target / f"{name_here(model)}.{kind}.gguf"
    size = export_gguf(model, target, kind)
    print(f"{target}: {size / 1e6:.1f} MB, {kind}")


@app.command()
def publish(
    model: Annotated[Path, typer.Argument(help="A model folder, models/grpo for instance.")],
    target: Annotated[Path, typer.Argument(help="The folder to make.")],
    push: Annotated[str | None, typer.Option(help="owner/name: also upload it to the Hugging Face hub.")] = None,
) -> None:
    """Copy a model and write its card from lineage and metrics, ready to be given to others."""
    from forgeline.core.params import load
    from forgeline.export.publish import publish as publish_model
    from forgeline.export.publish import push as push_model
    from forgeline.sources.params import SourcesParams
    from forgeline.text.card import CardParams

    publish_model(model, target, Path("metrics"), load("card", CardParams), load("ingest", SourcesParams))
    print(f"{target}: the model with its card, {target / 'README.md'}")
    if push is not None:
        print(push_model(target, push))


@app.command()
def leaderboard() -> None:
    """Print the scores of all evaluated models."""
    from rich.console import Console

    from forgeline.core.storage import read_json
    from forgeline.failures import missing_lines
    from forgeline.reporting.names import name_lines
    from forgeline.reporting.terminal import leaderboard_table

    content = read_json(LEADERBOARD)
    Console().print(leaderboard_table(content["rows"]))
    print(*name_lines(content["rows"]), *missing_lines(content), sep="\n")


@app.command()
def lineage(
    what: Annotated[str, typer.Argument(help="A path of dvc.yaml, models:/<name>/<version> or @<alias>.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Print the chain from a model, data or metrics file back to its sources: hashes, params, code revision."""
    from dataclasses import asdict

    from rich.console import Console

    from forgeline.reporting.lineage import changed_outputs, lineage_tree
    from forgeline.reporting.lineage import lineage as trace
    from forgeline.tracking.versions import REGISTERED, registered_version

    commit, path = "", Path(what)
    if what.startswith(REGISTERED):
        version = registered_version(what)
        commit, path = version.commit, Path(version.path)
    steps = trace(path, commit=commit)
    changed = {} if commit else changed_outputs(steps)
    if as_json:
        content = {"path": path.as_posix(), "commit": commit, "changed": changed, "steps": [asdict(s) for s in steps]}
        print(json.dumps(content, indent=2, sort_keys=True))
    else:
        Console().print(lineage_tree(path, steps, changed))


@app.command()
def promote(
    model: Annotated[str, typer.Argument(help="A registered model: grpo, or forgeline-grpo.")],
    task: Annotated[list[str] | None, typer.Option(help="It has to be better on this one; may be repeated.")] = None,
    force: Annotated[str | None, typer.Option(help="Why to promote whatever the comparison says.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Make the candidate of a registered model its champion if it is better on the same samples; else status 1."""
    from forgeline.core.params import load
    from forgeline.tracking.params import RegisterParams
    from forgeline.tracking.promotion import promote as promote_candidate
    from forgeline.tracking.promotion import show
    from forgeline.tracking.store import explain_store_errors

    params = load("register", RegisterParams)
    with explain_store_errors():
        decision = promote_candidate(model, params, task or [], force)
    if as_json:
        print(json.dumps(decision.as_json(), indent=2, sort_keys=True))
    else:
        print(*show(decision), sep="\n")
    raise typer.Exit(0 if decision.promoted or decision.champion == decision.candidate else 1)


@app.command()
def compare(
    revisions: Annotated[
        list[str] | None,
        typer.Argument(help="Experiments, commits, branches, workspace; the first is the reference."),
    ] = None,
    most: Annotated[int, typer.Option("--last", min=1, help="Without names: so many results, newest first.")] = 12,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Also write every score as CSV.")] = None,
) -> None:
    """Print one leaderboard over commits and experiments: params that differ, scores, sure differences."""
    from rich.console import Console

    from forgeline.core.storage import write_csv
    from forgeline.tracking import experiments

    found = experiments.overview(revisions or [], most)
    if csv_file is not None:
        write_csv(csv_file, experiments.as_csv(found))
    if as_json:
        print(json.dumps(experiments.as_json(found), indent=2, sort_keys=True))
    else:
        Console().print(experiments.overview_tables(found))


@app.command()
def restore(
    name: Annotated[str, typer.Argument(help="An experiment, commit, branch or tag.")],
    pull: Annotated[bool, typer.Option("--pull", help="Fetch from the remotes what is not in the cache.")] = False,
) -> None:
    """Bring back an experiment's files (params, lock, data, models) without running a stage."""
    from forgeline.restore import restore as restore_files

    done = restore_files(name, pull)
    print(f"{done.revision.name} ({done.revision.commit[:12]}): {done.num_files} files of git changed, ", end="")
    print(f"{done.num_outputs} outputs are as they were; `git restore .` and `dvc checkout` lead back")


@app.command()
def sync() -> None:
    """Mirror all DVC revisions and experiments into MLflow, and register the models here; twice changes nothing."""
    from forgeline.core.params import load
    from forgeline.reporting.lineage import locked_stages_now
    from forgeline.tracking.params import RegisterParams
    from forgeline.tracking.registry import register_present
    from forgeline.tracking.store import explain_store_errors
    from forgeline.tracking.sync import sync_all

    params = load("register", RegisterParams)
    with explain_store_errors():
        report = sync_all()
        models = register_present(Path("models"), params, LEADERBOARD, locked_stages_now())
    print(f"MLflow: {report.num_new} results added, {report.num_known} were there", end="; ")
    print(f"{sum(model.is_new for model in models)} models registered, {len(models)} known")


@source.command("add")
def add_source(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    what: Annotated[str, typer.Argument(help='"dataset | subset | split | weight", a URL, or a file or folder.')],
    text: Annotated[str | None, typer.Option(help=r"Field of the text, or '{title}\n{body}'; default: text.")] = None,
    documents: Annotated[str | None, typer.Option(help="Plain text: file, lines, ... (docs/sources.md).")] = None,
    marker: Annotated[str | None, typer.Option(help="Of documents that headings or separators part.")] = None,
    pattern: Annotated[str | None, typer.Option(help="Which files of a folder, '**/*.jsonl' for instance.")] = None,
    encoding: Annotated[str, typer.Option(help="Invalid UTF-8: strict or repair.")] = "strict",
    language: Annotated[str, typer.Option(help="ISO 639 code, or auto.")] = "auto",
    weight: Annotated[str | None, typer.Option(help="Relative to the other sources; default: 1.")] = None,
    max_documents: Annotated[int | None, typer.Option(help="Take the first so many.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Take the first documents with about so many.")] = None,
    license_name: Annotated[str | None, typer.Option("--license", help="For the data card.")] = None,
    citation: Annotated[str | None, typer.Option(help="For the data card.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit of a dataset; default: the newest.")] = None,
    sha256: Annotated[str | None, typer.Option(help="Of the file behind a URL.")] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Download a URL now and pin what arrives.")] = False,
    max_megabytes: Annotated[float, typer.Option(help="Refuse a larger file behind a URL.")] = 1000.0,
) -> None:
    """Add a source to params.yaml: a dataset of the Hugging Face hub, a URL, or a file or folder."""
    from tempfile import TemporaryDirectory

    from forgeline.check import check as check_params
    from forgeline.core.params import PARAMS_FILE, read_yaml
    from forgeline.sources import declare

    check_params()
    declare.require_new_name(read_yaml(PARAMS_FILE), name)
    number = None if weight is None else declare.parse_weight(weight)
    form = (text, documents, marker, pattern, encoding, language)
    reading = declare.Reading(*form, number, max_documents, max_tokens, license_name, citation)
    Path(".dvc/tmp").mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=".dvc/tmp", prefix="pin-") as scratch:
        remote = declare.Remote(revision, sha256, pin, max_megabytes)
        declared = declare.declare(name, what, reading, remote, Path(scratch))
        declare.save(name, declared, check_params)
        if pin and declared.fetch is not None:
            declare.keep_download(name, Path(scratch))
    if declared.fetch is not None:
        print(
            f"params.yaml: fetch.{name} added, pinned to {declared.fetch.get('revision') or declared.fetch['sha256']}"
        )
    print(f"params.yaml: ingest.sources.{name} added; `forgeline repro` reads it")


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
