"""`forgeline repro`: `dvc repro` in this process, with stages numbered and the result shown at the end."""

import functools
import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgeline.core.process import STOPPED
from forgeline.core.progress import STAGE_ORDER_VARIABLE
from forgeline.failures import Failures, LastWords, missing_lines, show_in_leaderboard
from forgeline.tracking.store import SWITCH_VARIABLE, URI_VARIABLE, tracking_enabled

REPORT = Path("metrics/report.html")
LEADERBOARD = Path("metrics/leaderboard.json")
_LOCK = Path("dvc.lock")
_SERVER_SECONDS = 5.0  # for the answer of a tracking server
_DVC_FOLDER = Path(".dvc/tmp")
CHECKED = _DVC_FOLDER / "forgeline-checked"  # written by `core.run.check_params_once`
# How a stage that Ctrl-C ended looks to DVC: its own exit status, or the signal when a shell in between waited for it
# and then died of the same Ctrl-C.
_INTERRUPTED = (f"exited with {STOPPED}", f"exited with -{signal.SIGINT.value}")


@dataclass(frozen=True)
class Outcome:
    """Exit status of `dvc repro`, how many stages changed, and those that failed."""

    status: int
    num_changed: int
    failures: Failures


def reproduce(arguments: Sequence[str]) -> Outcome:
    """Runs `dvc repro --keep-going` with further arguments.

    `python` in the stages' commands is the interpreter this runs under, whether or not its environment is activated.
    """
    from forgeline.shared_dvc import share_dvc_work

    share_dvc_work()
    from dvc.cli import main as dvc

    binaries = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([binaries, os.environ.get("PATH", "")])
    os.environ["DVC_NO_ANALYTICS"] = "true"
    clear_broken_lock()
    _number_stages()
    _end_at_interrupt()
    failures = _note_failures()
    before = _locked_entries()
    status = int(dvc(["repro", "--keep-going", *arguments]))
    return Outcome(status, len(_locked_entries() - before), failures)


def check_params() -> None:
    """Validates params.yaml unless the present one was found valid before.

    The module that does it takes a quarter of a second to import, which is a fifth of a run with nothing to do.
    """
    state = hashlib.sha256(Path("params.yaml").read_bytes() + Path("dvc.yaml").read_bytes()).hexdigest()
    if not (CHECKED.is_file() and CHECKED.read_text(encoding="utf-8") == state):
        from forgeline.core.run import check_params_once

        check_params_once()


def announce_result(outcome: Outcome, seconds: float) -> None:
    """Prints the leaderboard, what failed, where the report is, and what it took."""
    failures = outcome.failures
    refusal = show_in_leaderboard(failures, LEADERBOARD) if failures.reasons else ""
    if (outcome.num_changed or failures.reasons) and not refusal and LEADERBOARD.exists():
        from rich.console import Console

        from forgeline.core.storage import read_json
        from forgeline.reporting.names import name_lines
        from forgeline.reporting.terminal import leaderboard_table

        content = read_json(LEADERBOARD)
        Console().print(leaderboard_table(content["rows"]))
        print(*name_lines(content["rows"]), *missing_lines(content), sep="\n")
    for line in failures.lines():
        print(line, file=sys.stderr)
    if refusal:
        print(f"{LEADERBOARD} is that of the run before; making it again ended with: {refusal}", file=sys.stderr)
    ending = "ended" if outcome.status == 0 else "FAILED"
    minutes, rest = divmod(round(seconds), 60)
    print(
        f"{ending}: {outcome.num_changed} stages changed in {minutes} min {rest} s; report: {REPORT}", file=sys.stderr
    )


def clear_broken_lock() -> None:
    """Removes DVC's note of who uses which file if a kill left it half written, and says so.

    DVC forgets processes that are gone by itself, but an unreadable note blocks its every command. It is written under
    a guard that the system releases when the writer dies; holding that, nobody is writing it.
    """
    from dvc.lock import LockError, make_lock
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK

    note = _DVC_FOLDER / RWLOCK_FILE
    if not note.exists():
        return
    try:
        with make_lock(str(_DVC_FOLDER / RWLOCK_LOCK), tmp_dir=str(_DVC_FOLDER)):
            if not _is_json(note):
                note.unlink()
                print(f"forgeline: removed {note}, which a killed DVC left half written", file=sys.stderr)
    except LockError:
        pass  # another DVC is at work and will say so


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def _end_at_interrupt() -> None:
    """Has Ctrl-C end the pipeline; DVC ignores it while a stage runs, and `--keep-going` would start the next stage."""
    from dvc.stage import run
    from dvc.stage.exceptions import StageCmdFailedError

    run_command = run.cmd_run

    def cmd_run(*arguments: Any, **options: Any) -> None:
        try:
            run_command(*arguments, **options)
        except StageCmdFailedError as error:
            if str(error).endswith(_INTERRUPTED):
                raise KeyboardInterrupt from error
            raise

    run.cmd_run = cmd_run


def _note_failures() -> Failures:
    """Has DVC's failed stages noted with their last words and the stages that wait for them."""
    from dvc.repo import reproduce as dvc_reproduce
    from dvc.stage import run
    from dvc.stage.exceptions import StageCmdFailedError

    failures, words = Failures(), LastWords()
    run_one, handle_error = run._run, dvc_reproduce.handle_error

    def run_and_listen(executable: Any, command: str, **options: Any) -> None:
        if store_is_down():  # a server that does not answer would cost every stage its time and a warning
            options["env"][SWITCH_VARIABLE] = "off"
        with words.stderr() as stderr:
            run_one(executable, command, **options, stderr=stderr)

    def note_error(graph: Any, on_error: str, error: Exception, stage: Any) -> Any:
        dependents = handle_error(graph, on_error, error, stage)
        reason = words.reason() if isinstance(error, StageCmdFailedError) else ""
        failures.add(stage.addressing, reason or str(error), {dependent.addressing for dependent in dependents})
        return dependents

    run._run = run_and_listen
    dvc_reproduce.handle_error = note_error
    return failures


@functools.cache
def store_is_down() -> bool:
    """Whether the tracking server that the environment names does not answer; says so once."""
    import urllib.error  # with nothing to run, nobody is asked
    import urllib.request

    address = os.environ.get(URI_VARIABLE, "")
    if not address.startswith(("http://", "https://")) or not tracking_enabled():
        return False
    try:
        urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=_SERVER_SECONDS).close()
    except urllib.error.HTTPError:
        return False  # it answers: what it refuses is told where it matters
    except OSError as error:
        refusal = getattr(error, "reason", error)
        print(f"forgeline: warning: the tracking server {address} does not answer ({refusal})", file=sys.stderr)
        print("  the run goes on without it; `forgeline sync` mirrors and registers the result later", file=sys.stderr)
        return True
    return False


def _number_stages() -> None:
    """Tells stages their place in the order that DVC plans; a second index takes about 0.3 s."""
    from dvc.repo import reproduce as dvc_reproduce

    plan = dvc_reproduce.plan_repro

    def plan_repro(*arguments: Any, **options: Any) -> Any:
        steps = plan(*arguments, **options)
        os.environ[STAGE_ORDER_VARIABLE] = ",".join(step.addressing for step in steps)
        return steps

    dvc_reproduce.plan_repro = plan_repro


def _locked_entries() -> set[str]:
    """The text of every stage's entry in dvc.lock; parsing it as YAML twice would be slow."""
    text = _LOCK.read_text(encoding="utf-8") if _LOCK.exists() else ""
    return set(re.split(r"^  (?=\S)", text, flags=re.MULTILINE)[1:])
