"""A folder in which the pipeline's own stages run on a benchmark corpus, each as a process whose cost is taken.

All cleaning rules and masks are on. The evaluation questions, which `curate` keeps out of the corpus, are random words.
"""

import os
import random
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.corpus import Corpus
from forgeline.core.params import plain, read_yaml, write_yaml
from forgeline.core.pipeline import find_stage
from forgeline.core.records import EvalSample, PreferencePair, write_records
from forgeline.runner.tasks import WORKERS_VARIABLE

STAGES = ("ingest@corpus", "clean@corpus", "curate")

_ROOT = Path(__file__).resolve().parent.parent
_POLL_SECONDS = 0.01
_NUM_QUESTIONS = 2_000
_QUESTION_WORDS = 30


@dataclass(frozen=True)
class Cost:
    """What a process took.

    Attributes:
        cpu_seconds: User and system time of all its threads, and of processes that it waited for.
        wall_seconds: From its start to its end.
        peak_megabytes: The most memory it had resident.
    """

    cpu_seconds: float
    wall_seconds: float
    peak_megabytes: float


class Workspace:
    """The folder; made anew."""

    def __init__(self, root: Path, corpus: Corpus, changes: Mapping[str, float]) -> None:
        """Declares the corpus as the only source.

        Args:
            root: The folder, which must not exist.
            corpus: What `ingest` reads.
            changes: Parameters that differ from the default, as section.name.
        """
        root.mkdir(parents=True)
        self.root = root
        for name in ("src", "stages", "tasks", "constraints.txt"):
            (root / name).symlink_to(_ROOT / name)
        shutil.copyfile(_ROOT / "dvc.yaml", root / "dvc.yaml")
        write_yaml(root / "params.yaml", _params(corpus, changes))
        self._write_questions()
        self._check()

    def run(self, address: str, num_workers: int) -> Cost:
        """Runs one of `STAGES` and takes its cost."""
        command = [sys.executable, *self.command(address)]
        start = time.perf_counter()
        with (self.root / "stderr.txt").open("wb") as said:
            process = subprocess.Popen(command, cwd=self.root, env=self._environment(num_workers), stderr=said)
        peak_kilobytes = peak_kilobytes_until_end(process.pid)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"{address} failed\n{(self.root / 'stderr.txt').read_text()}")
        return Cost(used.ru_utime + used.ru_stime, time.perf_counter() - start, peak_kilobytes * 1024 / 1e6)

    def command(self, address: str) -> list[str]:
        """What follows `python` in the stage's command."""
        stage = find_stage(address, self.root)
        assert stage is not None
        return shlex.split(stage.command)[1:]

    def _environment(self, num_workers: int) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(_ROOT / "src"), WORKERS_VARIABLE: str(num_workers)}

    def _check(self) -> None:
        """Has params.yaml checked now, so that the first stage does not pay for it."""
        check = "from forgeline.core.run import check_params_once; check_params_once()"
        subprocess.run([sys.executable, "-c", check], cwd=self.root, env=self._environment(1), check=True)

    def _write_questions(self) -> None:
        rng = random.Random(0)
        words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(5_000)]
        texts = [" ".join(rng.choices(words, k=_QUESTION_WORDS)) for _ in range(_NUM_QUESTIONS)]
        samples = [EvalSample.make("random", text, [{"role": "user", "content": text}], text) for text in texts]
        write_records(self.root / "data/instructions/test.parquet", EvalSample, samples)
        pairs = [
            PreferencePair.make("random", "random", text, [{"role": "user", "content": text}], text, text[::-1])
            for text in texts
        ]
        write_records(self.root / "data/preferences/test.parquet", PreferencePair, pairs)


def peak_kilobytes_until_end(pid: int) -> int:
    """Waits for a process to end; `ru_maxrss` would not do, since it begins with the memory of who started it."""
    peak = 0
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        peak = max([peak, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))])
        time.sleep(_POLL_SECONDS)
    return peak


def _params(corpus: Corpus, changes: Mapping[str, float]) -> Any:
    params = plain(read_yaml(_ROOT / "presets" / "default.yaml"))
    source = {
        **params["ingest"]["sources"]["hpo_terms"],
        "kind": "files",
        "path": str(corpus.folder.resolve()),
        "pattern": "docs-*.jsonl",
        "text": "text",
    }
    params["ingest"]["sources"] = {"corpus": source}
    for mask in params["clean"]["pii"].values():
        mask["enabled"] = True
    for family in params["clean"]["rules"]["default"].values():
        if isinstance(family, dict):
            family["enabled"] = True
    for dotted, value in changes.items():
        section, name = dotted.split(".")
        params[section][name] = value
    return params
