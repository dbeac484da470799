"""What every stage does around its work: checks, atomic outputs, accounting, a scratch folder, lineage.

A stage is a `main` whose arguments are its paths:

    def main(documents: Path, kept: Path, metrics: Path) -> None:
        params = load("clean", CleanParams)
        with StageRun("clean", {"clean": params}, metrics) as run:
            ...
            write_documents(run.output(kept), result.kept)
            run.summarize(result.counts)

    command_line(main)
"""

import argparse
import hashlib
import inspect
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from pydantic import BaseModel

from forgeline.core.durations import note_duration
from forgeline.core.errors import DataError, ForgelineError, StopRequested, describe_os_error, write_failure
from forgeline.core.params import load_all
from forgeline.core.pipeline import find_stage
from forgeline.core.process import STOPPED, is_main_process, raise_on_stop_signals
from forgeline.core.progress import announce_stage
from forgeline.core.records import Counts as Counts
from forgeline.core.storage import sha256_path, write_json

# The libraries whose versions decide bytes; lineage names them.
LIBRARIES = (
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "trl",
    "peft",
    "compressed-tensors",
    "datasets",
    "ftfy",
    "gigatoken",
    "numba",
    "numpy",
    "py3langid",
    "pyarrow",
)
CODE_ROOTS = ("src/", "stages/")


class StageRun:
    """The frame of one stage run.

    Outputs are written beside their place and renamed into it together when the block ends well, so a failed or killed
    stage leaves the previous outputs or none. The metrics file is one of them. Where several processes compute a stage
    together, all but the main one write into a folder of their own that is thrown away.
    """

    def __init__(self, address: str, params: Mapping[str, BaseModel], metrics: Path) -> None:
        """Names the run.

        Args:
            address: DVC's name of the stage, `clean@hpo_terms` for instance.
            params: The sections of params.yaml that the stage reads, by their dotted name.
            metrics: Where the summary goes.
        """
        self.address = address
        self.params = {name: section.model_dump(mode="json") for name, section in params.items()}
        self._metrics = metrics
        self._outputs: list[tuple[Path, Path]] = []
        self._summary: dict[str, Any] | None = None
        self._scratch: Path | None = None
        self._resumes = False
        self._all_params: dict[str, Any] = {}
        self._aside = None if is_main_process() else tempfile.TemporaryDirectory(prefix="forgeline-")

    def __enter__(self) -> "StageRun":
        if self._aside is not None:
            return self
        check_params_once()
        announce_stage(self.address)
        self._all_params = load_all()  # now: a user may edit the file while the stage runs
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._aside is not None:
            self._aside.cleanup()
            return
        unwritten = [str(final) for partial, final in self._outputs if not partial.exists()]
        if kind is not None or self._summary is None or unwritten:
            for partial, _ in self._outputs:
                _remove(partial)
            if kind is None:
                raise RuntimeError(f"{self.address} ended without {', '.join(unwritten) or 'a summary'}")
            return
        for partial, final in self._outputs:
            _replace(partial, final)
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        if not self._resumes:
            note_duration(_repository_root(), self.address, self._all_params, self._summary)

    def output(self, path: Path) -> Path:
        """Where to write what will stand at `path` (a file or a folder) once the stage has succeeded."""
        if self._aside is not None:
            return Path(self._aside.name) / path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        _remove(partial)
        self._outputs.append((partial, path))
        return partial

    def summarize(self, counts: Counts, **values: Any) -> None:
        """Writes the metrics file: the record counts and the stage's own figures."""
        self._summary = {"records": counts.as_json(), **values}
        write_json(self.output(self._metrics), self._summary)

    def scratch(self) -> Path:
        """A folder that survives a kill and is found again by a rerun of the same work, and by no other.

        It lies under `.dvc/tmp/scratch` of the repository (of the original one in `dvc exp run --temp`), named by the
        fingerprint of params, inputs and code, and is removed when the stage succeeds.
        """
        if self._scratch is None:
            name = f"{self.address.replace('@', '-')}-{self.fingerprint()[:16]}"
            self._scratch = _repository_root() / ".dvc" / "tmp" / "scratch" / name
            if self._aside is None:
                self._resumes = self._scratch.exists()
                self._scratch.mkdir(parents=True, exist_ok=True)
        return self._scratch

    def fingerprint(self) -> str:
        """SHA-256 of everything that decides the outputs: parameters, content of inputs and code, library versions."""
        text = json.dumps([self.address, self.params, self._deps(), _environment()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def write_lineage(self, model: Path, **extra: Any) -> None:
        """Writes `lineage.json` into a model folder: what it was made from, by content hash.

        Args:
            model: The (partial) model folder.
            extra: More facts worth keeping, `tokenizer` (its fingerprint) for instance.
        """
        deps = self._deps()
        code = {path: digest for path, digest in deps.items() if path.startswith(CODE_ROOTS)}
        template = model / "chat_template.jinja"
        if template.is_file():  # a model asked in another format than it learned is refused when it is loaded
            extra = {"chat_template": sha256_path(template), **extra}
        write_json(
            model / "lineage.json",
            {
                "stage": self.address,
                "params": self.params,
                "inputs": {path: digest for path, digest in deps.items() if path not in code},
                "code_sha256": hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest(),
                "environment": _environment(),
                **extra,
            },
        )

    def _deps(self) -> dict[str, str]:
        stage = find_stage(self.address)
        if stage is None:
            raise DataError(f"dvc.yaml has no stage '{self.address}': run the stages through `dvc repro`")
        return {dep: sha256_path(Path(dep)) for dep in stage.deps}


def command_line(main: Callable[..., None]) -> None:
    """Runs a stage's `main` with arguments named like its parameters; turns expected errors into one message.

    Exit status: 0 done, 1 an error the user can mend, 130 stopped by a signal.
    """
    parser = argparse.ArgumentParser(description=sys.modules[main.__module__].__doc__)
    for parameter in inspect.signature(main).parameters.values():
        parser.add_argument(f"--{parameter.name.replace('_', '-')}", type=parameter.annotation, required=True)
    arguments = vars(parser.parse_args())
    raise_on_stop_signals()
    try:
        main(**arguments)
    except ForgelineError as error:
        _fail(str(error), 1)
    except StopRequested as stop:
        _fail(str(stop), STOPPED)
    except OSError as error:
        _fail(describe_os_error(error), 1)
    except Exception as error:  # a bug keeps its traceback; a full disk in the words of some library does not
        refusal = write_failure(error)
        if refusal is None:
            raise
        _fail(describe_os_error(refusal), 1)


def _fail(message: str, status: int) -> NoReturn:
    if is_main_process():  # the others come to the same end for the same reason
        print(f"forgeline: {message}", file=sys.stderr, flush=True)
    sys.exit(status)


def _repository_root() -> Path:
    return Path(os.environ.get("DVC_ROOT", "."))


def check_params_once() -> None:
    """Validates the whole params.yaml before the first stage that sees it, so that a typo costs no training.

    In a process of its own: importing every section's model here would make every stage depend on all of them.
    """
    state = hashlib.sha256(Path("params.yaml").read_bytes() + Path("dvc.yaml").read_bytes()).hexdigest()
    stamp = _repository_root() / ".dvc" / "tmp" / "forgeline-checked"
    if stamp.exists() and stamp.read_text() == state:
        return
    check = subprocess.run([sys.executable, "-m", "forgeline.cli", "check", "--quiet"], env=_with_own_source())
    if check.returncode != 0:  # it has said what is wrong
        sys.exit(1)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(state)


def _with_own_source() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd() / "src"), os.environ.get("PYTHONPATH", "")])}


def _environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "constraints_sha256": sha256_path(Path("constraints.txt")),
    }


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _replace(partial: Path, final: Path) -> None:
    aside = final.with_name(f".{final.name}.replaced")
    _remove(aside)  # a kill between the renames below leaves it
    if final.is_dir():  # a folder cannot be renamed over another: move the old one aside first
        final.rename(aside)
        partial.rename(final)
        shutil.rmtree(aside)
    else:
        partial.replace(final)
