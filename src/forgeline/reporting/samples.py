"""Every model's answers to the same questions, small enough to lie inside the page.

A question is one line of JSON. Answers that several models gave are written once, and gzip does the rest: 2,000
questions of 20 models take 1 to 2 MB. The browser unpacks them by itself (`DecompressionStream`).
"""

import base64
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgeline.core.storage import read_jsonl, sha256_text
from forgeline.reporting.comparison import Samples

_GZIP = 31  # window bits that make zlib write a gzip header; its time stamp is 0
_LEVEL = 6
_SLACK = 65_536  # bytes that zlib may still hold back when its output is measured
RIGHT, WRONG, UNPARSED = "right", "wrong", "unparsed"


@dataclass(frozen=True)
class Limits:
    """How much of the samples the page takes.

    Attributes:
        per_task: Questions of one task.
        characters: Of one prompt or answer.
        seed: Of the choice and the order.
    """

    per_task: int
    characters: int
    seed: int


@dataclass(frozen=True)
class PackedSamples:
    """What the page holds of the samples.

    Attributes:
        data: The questions as gzip in base64; empty when there are none.
        models: Every model, in the order in which the lines number them.
        tasks: For each task how many questions there are and how many of them are held.
        num_answers: Answers to those questions, of all models.
        num_cut: Prompts and answers whose middle was left out.
    """

    data: str
    models: Sequence[str]
    tasks: Mapping[str, Mapping[str, int]]
    num_answers: int
    num_cut: int

    def head(self) -> dict[str, Any]:
        """What the page has to know beside the data."""
        return {"models": list(self.models), "tasks": self.tasks, "num_cut": self.num_cut}


class _Texts:
    """Cuts the middle out of long texts and counts how often."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.num_cut = 0

    def __call__(self, text: str) -> str:
        if len(text) <= self._limit:
            return text
        self.num_cut += 1
        end = self._limit // 3  # of an answer the end says most: there stands the result
        left_out = len(text) - self._limit
        return f"{text[: self._limit - end]} […{left_out:,} characters left out…] {text[len(text) - end :]}"


def read_evidence(folder: Path, metrics_folder: Path, models: Sequence[str]) -> dict[str, Samples]:
    """Rows of `<folder>/<model>/samples.jsonl` of the models whose evaluation has ended well."""
    files = {model: folder / model / "samples.jsonl" for model in models}
    return {
        model: read_jsonl(file)
        for model, file in files.items()
        if file.is_file() and (metrics_folder / "evaluate" / f"{model}.json").is_file()
    }


def pack_samples(samples: Mapping[str, Samples], limits: Limits, max_bytes: int) -> PackedSamples:
    """Packs as many questions as fit, of every task the same share.

    Args:
        samples: Rows of samples.jsonl by model.
        limits: How much of them is wanted.
        max_bytes: Of `data`.
    """
    by_question = _by_question(samples)
    totals = {task: len(rows) for task, rows in by_question.items()}
    shown = dict.fromkeys(totals, 0)
    compressor, parts, size = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP), [], 0
    num_answers = num_cut = 0
    room = max_bytes * 3 // 4 - _SLACK
    texts = _Texts(limits.characters)
    for task, rows in _spread(by_question, limits):
        line = json.dumps(_line(task, rows, texts), ensure_ascii=False, separators=(",", ":")) + "\n"
        following = compressor.copy() if size + len(line) * 4 > room else compressor  # a copy can be taken back
        part = following.compress(line.encode("utf-8"))
        if size + len(part) > room:
            break
        compressor, size, num_cut = following, size + len(part), texts.num_cut
        num_answers += sum(row is not None for row in rows)
        parts.append(part)
        shown[task] += 1
    parts.append(compressor.flush())
    data = base64.b64encode(b"".join(parts)).decode("ascii") if any(shown.values()) else ""
    tasks = {task: {"shown": shown[task], "total": total} for task, total in totals.items()}
    return PackedSamples(data, list(samples), tasks, num_answers, num_cut)


def _by_question(samples: Mapping[str, Samples]) -> dict[str, dict[str, list[Mapping[str, Any] | None]]]:
    """By task and sample, the row of each model or None; a question that one model alone was asked is there too."""
    found: dict[str, dict[str, list[Mapping[str, Any] | None]]] = {}
    for index, rows in enumerate(samples.values()):
        for row in rows:
            questions = found.setdefault(row["task"], {})
            if row["sample_id"] not in questions:
                questions[row["sample_id"]] = [None] * len(samples)
            questions[row["sample_id"]][index] = row
    return found


def _spread(
    by_question: Mapping[str, Mapping[str, list[Mapping[str, Any] | None]]], limits: Limits
) -> Iterator[tuple[str, list[Mapping[str, Any] | None]]]:
    """Tasks mixed evenly, each in seeded order, so that whatever is cut off the end is a fair share of every task."""
    places = []
    for number, (task, questions) in enumerate(by_question.items()):
        chosen = sorted(questions, key=lambda sample_id: sha256_text(f"{limits.seed} {sample_id}"))[: limits.per_task]
        places += [((place + 0.5) / len(chosen), number, task, sample_id) for place, sample_id in enumerate(chosen)]
    for _, _, task, sample_id in sorted(places):
        yield task, by_question[task][sample_id]


def _line(task: str, rows: Sequence[Mapping[str, Any] | None], texts: _Texts) -> list[Any]:
    """[task, id, prompt, right answer, different answers, which of them each model gave (-1: not asked)].

    An answer is [verdict, output] or, where the parser took something else out of it, [verdict, output, parsed].
    The verdict of a document is its bits per byte.
    """
    numbers: dict[tuple[Any, ...], int] = {}
    given = [-1 if row is None else numbers.setdefault(_answer(row), len(numbers)) for row in rows]
    answers = [[verdict, *map(texts, written)] for verdict, *written in numbers]
    first = next(row for row in rows if row is not None)
    return [task, first["sample_id"][:8], texts(first["prompt"]), texts(str(first["reference"])), answers, given]


def _answer(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Verdict, output and, where it says more, what the parser took out of it."""
    output, parsed, correct = str(row["output"]), row["parsed"], row["correct"]
    details = row.get("details", {})
    if "nll_nats" in details:
        return (round(details["nll_nats"] / math.log(2) / max(details["num_bytes"], 1), 3), "")
    verdict = RIGHT if correct else UNPARSED if parsed is None else WRONG
    return (verdict, output) if parsed is None or str(parsed) == output else (verdict, output, str(parsed))
