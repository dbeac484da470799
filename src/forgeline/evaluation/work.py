"""Batches of a task: computed once, kept until the evaluation is done, and timed.

A killed evaluation goes on where it stood. What a batch gave is appended to a file in a folder that survives the kill;
the rerun forms the same batches, takes those that are in the file and computes the others. A batch that was under way
is computed again as a whole: rounding depends on which rows share a pass, and the bytes of a resumed evaluation are
those of an undisturbed one.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from forgeline.core.progress import announce_fact
from forgeline.core.storage import write_json, write_jsonl
from forgeline.model.batches import batches_by_length

_FILE = "finished.jsonl"


@dataclass(frozen=True)
class Timing:
    """How long one row of a task took.

    Attributes:
        seconds: From the start of its batch to the end.
        num_in_batch: Rows that were computed together.
        num_tokens: Tokens that were written for it; 0 where nothing was.
    """

    seconds: float
    num_in_batch: int
    num_tokens: int


class Journal:
    """What has been computed, on disk and, with times, in memory.

    Attributes:
        timings: By task and number of its sample; one that was computed in parts has the sum of their times.
    """

    def __init__(self, folder: Path | None) -> None:
        """Reads what an earlier run has finished.

        Args:
            folder: A folder that this very work alone uses (`StageRun.scratch`); None keeps nothing on disk.
        """
        self._file = None if folder is None else folder / _FILE
        self._finished: dict[tuple[str, int], dict[str, Any]] = {}
        self.timings: dict[str, dict[int, Timing]] = {}
        if self._file is not None and self._file.is_file():
            self._read(self._file)

    def of(self, task: str) -> "Work":
        """The work of one task."""
        return Work(self, task)

    def look_up(self, task: str, number: int) -> dict[str, Any] | None:
        """A finished batch, or None."""
        return self._finished.get((task, number))

    def note(self, entry: dict[str, Any]) -> None:
        """Keeps a batch that has just been computed."""
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry, allow_nan=False) + "\n")

    def _read(self, file: Path) -> None:
        """Takes whole lines; what a kill left of the last one is cut off."""
        content = file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            file.write_bytes(whole)
        for line in whole.splitlines():
            entry = json.loads(line)
            self._finished[entry["task"], entry["batch"]] = entry
        if self._finished:
            announce_fact(f"goes on after {len(self._finished)} finished batches")


class Work:
    """The batches of one task, numbered in the order in which they are asked for."""

    def __init__(self, journal: Journal, task: str) -> None:
        self._journal = journal
        self._task = task
        self._number = 0

    def by_length(
        self,
        lengths: Sequence[int],
        batch_tokens: int,
        compute: Callable[[list[int]], list[Any]],
        *,
        samples: Sequence[int] | None = None,
        num_tokens: Callable[[Any], int] = lambda _: 0,
    ) -> list[Any]:
        """Results of rows of unequal length, computed in batches of similar ones.

        Args:
            lengths: Tokens of every row.
            batch_tokens: Padded tokens of one batch.
            compute: Results of the rows at the given places, as JSON.
            samples: The number of the sample that each row belongs to; None if every row is one.
            num_tokens: How many tokens were written in a result.

        Returns:
            In the order of `lengths`.
        """
        results: list[Any] = [None] * len(lengths)
        for rows in batches_by_length(lengths, batch_tokens):
            owners = rows if samples is None else [samples[row] for row in rows]
            for row, result in zip(rows, self.batch(owners, partial(compute, rows), num_tokens), strict=True):
                results[row] = result
        return results

    def batch(
        self, owners: Sequence[int], compute: Callable[[], list[Any]], num_tokens: Callable[[Any], int] = lambda _: 0
    ) -> list[Any]:
        """The results of one batch, one for each of `owners` (numbers of samples): kept ones, or else computed."""
        entry = self._journal.look_up(self._task, self._number)
        if entry is None:
            start = time.perf_counter()
            results = compute()
            seconds = time.perf_counter() - start
            entry = {"task": self._task, "batch": self._number, "seconds": seconds, "results": results}
            self._journal.note(entry)
        self._number += 1
        timings = self._journal.timings.setdefault(self._task, {})
        for owner, result in zip(owners, entry["results"], strict=True):
            before = timings.get(owner, Timing(0.0, 0, 0))
            timings[owner] = Timing(
                before.seconds + entry["seconds"],
                max(before.num_in_batch, len(owners)),
                before.num_tokens + num_tokens(result),
            )
        found: list[Any] = entry["results"]
        return found


def write_timings(folder: Path, journal: Journal, samples: Sequence[dict[str, Any]]) -> None:
    """Writes measured times: `samples.jsonl`, a line for each sample, and `rates.json`, figures by task.

    They are no artefacts (another run measures others), so they go where neither git nor DVC looks.

    Args:
        folder: A new folder.
        journal: Of the evaluation.
        samples: Its rows, in the order of each task.
    """
    rows, numbers = [], dict.fromkeys(journal.timings, -1)
    for sample in samples:
        task = sample["task"]
        if task not in numbers:
            continue
        numbers[task] += 1
        timing = journal.timings[task][numbers[task]]
        identity = {name: sample[name] for name in ("task", "sample_id", "prompt_sha256")}
        measured = {"latency_seconds": timing.seconds, "num_in_batch": timing.num_in_batch}
        rows.append({**identity, **measured, "num_output_tokens": timing.num_tokens})
    write_jsonl(folder / "samples.jsonl", rows)
    write_json(folder / "rates.json", {task: _rates(list(found.values())) for task, found in journal.timings.items()})


def _rates(timings: Sequence[Timing]) -> dict[str, float | None]:
    latencies = [timing.seconds for timing in timings]
    total = sum(timing.seconds / timing.num_in_batch for timing in timings)
    written = sum(timing.num_tokens for timing in timings)
    return {
        "num_samples": len(timings),
        "seconds": total,
        "samples_per_second": len(timings) / total,
        "tokens_per_second": written / total if written else None,
        "latency_mean_seconds": float(np.mean(latencies)),
        "latency_median_seconds": float(np.median(latencies)),
        "latency_p95_seconds": float(np.percentile(latencies, 95)),
    }
