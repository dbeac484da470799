"""conversion: question-answer records checked and written as messages, against a plain loop over json.

Both read the same JSON lines, check that question and answer are there, are text, are not blank and differ, count
conversations and turns, and write the same conversations. Ours also tells line and field of what is wrong, finds the
format, and writes beside the target. The records are documents of the corpus cut in two.
"""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.corpus import open_corpus
from benchmarks.harness import Comparison, Options, alternate
from forgeline.sources.conversations.commands import convert
from forgeline.sources.conversations.formats import Expected

_MEGABYTES = 200.0
_QUESTION_CHARACTERS = 60
_LARGER = 5  # the file on which memory is compared is so many times larger
_MAX_GROWTH_MEGABYTES = 16.0


def run(options: Options, num_pairs: int = 3) -> Comparison:
    """Megabytes of input per CPU second of both; outputs must be equal and memory must not grow with the file."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "questions.jsonl"
        _write(source, options)
        size = source.stat().st_size / 1e6
        ours, peer = alternate(
            lambda: size / _seconds_of_ours(source, folder / "ours.jsonl"),
            lambda: size / _seconds_of_peer(source, folder / "peer.jsonl"),
            num_pairs,
        )
        equal = _equal(folder / "ours.jsonl", folder / "peer.jsonl")
        small, large = _peak_megabytes(source, folder), _peak_megabytes(_repeated(source), folder)
    print(f"{size:.0f} MB; the outputs are {'equal' if equal else 'NOT equal'}")
    print(f"peak memory {small:.0f} MB, of a file {_LARGER} times larger {large:.0f} MB")
    return Comparison(
        "conversion",
        ours,
        peer,
        "MB per CPU second",
        target=3.0,
        higher_is_better=True,
        others_hold=equal and large - small < _MAX_GROWTH_MEGABYTES,
    )


def _write(path: Path, options: Options) -> None:
    """Records with a question (the beginning of a document), an answer (the rest), and a field that is not read."""
    with path.open("w", encoding="utf-8") as file:
        for name, text in open_corpus(options, _MEGABYTES).documents():
            cut = text.find(" ", _QUESTION_CHARACTERS)
            question, answer = text[:cut], text[cut + 1 :]
            if cut > 0 and question.strip() and answer.strip() and question.strip() != answer.strip():
                file.write(json.dumps({"id": name, "question": question, "answer": answer}, ensure_ascii=False) + "\n")


def _repeated(source: Path) -> Path:
    larger = source.with_name("larger.jsonl")
    with larger.open("wb") as file:
        for _ in range(_LARGER):
            with source.open("rb") as whole:
                shutil.copyfileobj(whole, file)
    return larger


def _seconds_of_ours(source: Path, target: Path) -> float:
    target.unlink(missing_ok=True)
    start = time.process_time()
    convert(source, target, Expected("auto", {}), 20, None)
    return time.process_time() - start


def _seconds_of_peer(source: Path, target: Path) -> float:
    target.unlink(missing_ok=True)
    start = time.process_time()
    num_conversations = num_turns = 0
    with source.open(encoding="utf-8") as lines, target.open("w", encoding="utf-8") as file:
        for number, line in enumerate(lines, start=1):
            messages = _checked(json.loads(line), f"{source}:{number}")
            num_conversations += 1
            num_turns += len(messages)
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
    return time.process_time() - start


def _checked(row: dict[str, str], where: str) -> list[dict[str, str]]:
    for field in ("question", "answer"):
        if field not in row:
            raise ValueError(f"{where}: no {field}")
        if not isinstance(row[field], str):
            raise ValueError(f"{where}: {field} is no text")
        if not row[field].strip():
            raise ValueError(f"{where}: {field} is blank")
    if row["question"].strip() == row["answer"].strip():
        raise ValueError(f"{where}: the answer equals the question")
    return [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]


def _equal(ours: Path, peer: Path) -> bool:
    return all(first == second for first, second in zip(_rows(ours), _rows(peer), strict=True))


def _rows(path: Path) -> Iterator[object]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _peak_megabytes(source: Path, folder: Path) -> float:
    """Of a process of its own that converts the file."""
    command = [sys.executable, "-m", "benchmarks.conversion", str(source), str(folder / "memory.jsonl")]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), Expected("auto", {}), 20, None)
    # Not getrusage, whose peak counts what the parent held when it started this process.
    print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1e3)
