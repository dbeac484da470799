"""Batches are computed once, whatever kills the evaluation in between."""

import json
from pathlib import Path
from typing import Any

import pytest

from forgeline.evaluation.work import Journal, write_timings

LENGTHS = [3, 9, 4, 8, 5]  # batches of at most 10 tokens: [1], [3], [4, 2], [0]


def run(folder: Path | None, task: str = "one", until: int = 99) -> tuple[list[Any], list[list[int]], Journal]:
    """Results of the rows, and which batches were computed; raises KeyboardInterrupt in batch number `until`."""
    computed: list[list[int]] = []

    def compute(rows: list[int]) -> list[Any]:
        if len(computed) == until:
            raise KeyboardInterrupt
        computed.append(rows)
        return [[row, row / 3] for row in rows]

    journal = Journal(folder)
    try:
        results = journal.of(task).by_length(LENGTHS, 10, compute)
    except KeyboardInterrupt:
        results = []
    return results, computed, journal


def test_results_come_in_the_order_of_the_rows() -> None:
    results, computed, _ = run(None)
    assert results == [[row, row / 3] for row in range(5)]
    assert computed == [[1], [3], [4, 2], [0]]


@pytest.mark.parametrize("until", range(4))
def test_a_killed_run_goes_on_where_it_stood(tmp_path: Path, until: int) -> None:
    _, before, _ = run(tmp_path, until=until)
    results, after, _ = run(tmp_path)
    assert before + after == [[1], [3], [4, 2], [0]]
    assert results == run(None)[0]


@pytest.mark.parametrize("cut", [1, 7, 30])
def test_half_a_line_is_computed_again(tmp_path: Path, cut: int) -> None:
    run(tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-cut])
    results, computed, _ = run(tmp_path)
    assert computed == [[0]]
    assert results == run(None)[0]
    assert [json.loads(line)["batch"] for line in file.read_text().splitlines()] == [0, 1, 2, 3]


def test_tasks_do_not_share_batches(tmp_path: Path) -> None:
    run(tmp_path)
    assert len(run(tmp_path, task="two")[1]) == 4


def test_times_of_a_resumed_run_are_those_of_both(tmp_path: Path) -> None:
    run(tmp_path, until=2)
    _, _, journal = run(tmp_path)
    assert sorted(journal.timings["one"]) == [0, 1, 2, 3, 4]
    assert [journal.timings["one"][row].num_in_batch for row in (1, 2, 4)] == [1, 2, 2]


def test_timings_name_the_sample(tmp_path: Path) -> None:
    journal = Journal(None)
    work = journal.of("writes")
    work.by_length([2, 1], 3, lambda rows: [[7] * (row + 1) for row in rows], num_tokens=len)
    parts = journal.of("parts")
    parts.by_length([1, 1, 1], 1, lambda rows: [0.5 for _ in rows], samples=[0, 0, 1])
    rows = [
        {"task": task, "sample_id": name, "prompt_sha256": name * 2}
        for task, name in (("writes", "a"), ("writes", "b"), ("parts", "c"), ("parts", "d"), ("untimed", "e"))
    ]
    write_timings(tmp_path / "new", journal, rows)
    lines = [json.loads(line) for line in (tmp_path / "new" / "samples.jsonl").read_text().splitlines()]
    assert [(line["sample_id"], line["num_output_tokens"]) for line in lines] == [
        ("a", 1),
        ("b", 2),
        ("c", 0),
        ("d", 0),
    ]
    assert all(line["latency_seconds"] > 0 for line in lines)
    rates = json.loads((tmp_path / "new" / "rates.json").read_text())
    assert rates["writes"]["num_samples"] == 2
    assert rates["writes"]["tokens_per_second"] == pytest.approx(3 / rates["writes"]["seconds"])
    assert rates["parts"]["tokens_per_second"] is None
