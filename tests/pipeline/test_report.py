"""report: one file that opens without a network, and a leaderboard that says what `evaluate` found."""

import base64
import csv
import gzip
import json
import re
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.clone import Clone
from tests.pipeline.outputs import EVALUATED, params, samples

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """Text, and the addresses that a browser would fetch by itself."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.fetched: list[str] = []
        self.opened: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        values = {name: value or "" for name, value in attrs}
        wanted = [values.get(name, "") for name in ("src", "srcset", "data", "poster", "action", "xlink:href")]
        wanted += [values.get("href", "")] if tag != "a" else []
        self.fetched += [value for value in wanted if value]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def html(smoke: Clone) -> str:
    return (smoke.root / "metrics" / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_it_needs_no_network(html: str, page: Page) -> None:
    assert [address for address in page.fetched if not address.startswith(("data:", "#"))] == []
    assert re.findall(r"@import|url\((?!['\"]?(?:data:|#))[^)]*\)", html) == []
    assert re.findall(r"\b(?:fetch|XMLHttpRequest|WebSocket|import)\s*\(", html) == []
    assert "iframe" not in page.opened


def test_it_shows_every_model_with_its_scores(smoke: Clone, page: Page) -> None:
    for model in EVALUATED:
        assert re.search(rf"\b{model}\b", page.text)
        value = smoke.metrics(f"evaluate/{model}")["tasks"]["perplexity"]["bits_per_byte"]["value"]
        assert f"{value:.3f}" in page.text


def test_it_shows_curves_the_funnel_and_the_lineage(smoke: Clone, page: Page) -> None:
    assert page.opened.count("svg") >= 5
    for stage in smoke.lock():
        if stage.partition("@")[0] not in ("report", "register"):
            assert stage.partition("@")[0] in page.text, stage
    for names in (("ingest/hpo_terms", "ingest/hpo_diseases"), ("clean/hpo_terms", "clean/hpo_diseases"), ("curate",)):
        dropped = Counter[str]()
        for name in names:
            dropped.update(smoke.metrics(name)["records"]["dropped"])
        for reason, number in dropped.items():
            assert f"{reason.replace('_', ' ')} {number:,}" in page.text


def test_it_holds_every_answer_of_every_model(smoke: Clone, html: str) -> None:
    match = re.search(r'id="samples-data">([^<]*)<', html)
    assert match
    text = gzip.decompress(base64.b64decode(match[1])).decode()
    lines = [json.loads(line) for line in text.split("\n") if line]
    for index, model in enumerate(EVALUATED):
        rows = {
            (row["task"], row["sample_id"][:8]): row for row in samples(smoke, model) if row["task"] != "perplexity"
        }
        held = {(task, key): answers[given[index]] for task, key, _, _, answers, given in lines if given[index] >= 0}
        limit = params(smoke)["report"]["max_text_characters"]
        for key, row in rows.items():
            verdict, output = held[key][:2]
            assert (verdict == "right") == row["correct"]
            assert output == row["output"] or len(row["output"]) > limit


def test_figures_describe_the_page(smoke: Clone, html: str) -> None:
    assert smoke.metrics("report")["report_bytes"] == len(html.encode())
    assert smoke.metrics("report")["num_models"] == len(EVALUATED)
    assert smoke.metrics("report")["records"]["out"] == sum(len(samples(smoke, model)) for model in EVALUATED)


def test_the_leaderboard_says_what_evaluate_found(smoke: Clone) -> None:
    found = smoke.metrics("leaderboard")["rows"]
    assert [row["model"] for row in found] == list(EVALUATED)
    for row in found:
        tasks = smoke.metrics(f"evaluate/{row['model']}")["tasks"]
        assert row["scores"] == {
            f"{task}.{name}": score for task, all_ in tasks.items() for name, score in all_.items()
        }


def test_parents_and_cost_are_those_of_the_pipeline(smoke: Clone) -> None:
    found = {row["model"]: row for row in smoke.metrics("leaderboard")["rows"]}
    assert {model: row["parent"] for model, row in found.items()} == {
        "base": None,
        "sft": "base",
        "dpo": "sft",
        "grpo": "sft",
        "rtn_w8": "grpo",
        "gptq_w4": "grpo",
    }
    measured = set(params(smoke)["benchmark"]["models"])
    assert {model for model, row in found.items() if row["cost"]} == measured
    for model in measured:
        assert found[model]["cost"]["size_bytes"] == smoke.metrics(f"benchmark/{model}")["size_bytes"]


def test_differences_from_the_parent_are_paired(smoke: Clone) -> None:
    found = {row["model"]: row for row in smoke.metrics("leaderboard")["rows"]}
    compared = 0
    for model, row in found.items():
        for task, comparison in row["comparisons"].items():
            ours, theirs = (verdicts(smoke, name, task) for name in (model, row["parent"]))
            assert ours.keys() == theirs.keys()
            if task == "perplexity":
                continue
            assert comparison["n"] == len(ours)
            compared += 1
    assert compared >= 4 * (len(found) - 1) - len(found)


def verdicts(run: Clone, model: str, task: str) -> dict[str, Any]:
    return {row["sample_id"]: row["correct"] for row in samples(run, model) if row["task"] == task}


def test_the_csv_has_the_same_figures(smoke: Clone) -> None:
    with (smoke.root / "metrics" / "leaderboard.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    for line, row in zip(lines, smoke.metrics("leaderboard")["rows"], strict=True):
        assert (line["model"], line["parent"]) == (row["model"], row["parent"] or "")
        for key, score in row["scores"].items():
            assert float(line[key]) == score["value"]
            assert int(line[f"{key}.n"]) == score["n"]
