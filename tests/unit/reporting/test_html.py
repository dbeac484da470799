import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from forgeline.core.errors import DataError
from forgeline.core.pipeline import read_pipeline
from forgeline.core.storage import read_jsonl
from forgeline.reporting.comparison import compare
from forgeline.reporting.generations import choose_questions
from forgeline.reporting.html import render_report
from forgeline.reporting.leaderboard import collect_rows
from forgeline.reporting.lineage import locked_stages_now
from forgeline.reporting.sections import training_curves


class Page(HTMLParser):
    """Collects tags with their attributes, and checks that they nest."""

    VOID = ("meta", "input", "br", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def render() -> str:
    samples = {name: read_jsonl(Path(f"data/evaluate/{name}/samples.jsonl")) for name in ("base", "sft")}
    parents = {"sft": "base"}
    rows = collect_rows(Path("metrics"), ["base", "sft"], parents, compare(samples, parents))
    questions = choose_questions(samples, 2, 17)
    return render_report(Path("metrics"), rows, questions, read_pipeline(), locked_stages_now(), {})


def test_the_page_needs_nothing_from_elsewhere(repository: Path) -> None:
    text = render()
    links = [value for _, attrs in Page(text).tags for name, value in attrs.items() if name in ("src", "href")]
    assert links
    assert all(link and link.startswith("#") for link in links)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", text)


def test_model_output_cannot_become_markup(repository: Path) -> None:
    text = render()
    assert "<script>alert" not in text
    assert "&lt;/script&gt;" in text
    assert '<span class="special">&lt;|im_start|&gt;</span>' in text


def test_the_page_shows_every_part(repository: Path) -> None:
    page = Page(render())
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {"leaderboard", "scores", "training", "data", "samples", "lineage"} <= ids
    assert "cost" not in ids  # nothing was benchmarked, so nothing is claimed
    nodes = [attrs["data-stage"] for _, attrs in page.tags if "data-stage" in attrs]
    assert sorted(map(str, nodes)) == ["evaluate@base", "evaluate@sft", "ingest", "pretrain", "sft"]
    questions = [attrs for tag, attrs in page.tags if tag == "article"]
    assert len(questions) == 2


def test_the_page_is_the_same_twice_and_stages_carry_their_hashes(repository: Path) -> None:
    text = render()
    assert text == render()
    match = re.search(r'<script type="application/json" id="stages">(.*?)</script>', text, re.DOTALL)
    assert match
    stages = json.loads(match[1])
    assert stages["sft"]["outs"] == [["models/sft", "md5 of models/sft"], ["metrics/sft.json", ""]]
    assert stages["sft"]["params"] == {"sft": {"seed": 1}}
    assert not stages["evaluate@sft"]["locked"]


def test_nothing_run_yet_still_gives_a_page(repository: Path, tmp_path: Path) -> None:
    text = render_report(tmp_path / "nowhere", [], [], read_pipeline(), {}, {})
    assert "No model has been evaluated yet." in text
    Page(text)


def test_questions_are_chosen_by_the_seed_among_those_all_answered(repository: Path) -> None:
    samples = {name: read_jsonl(Path(f"data/evaluate/{name}/samples.jsonl")) for name in ("base", "sft")}
    del samples["sft"][0]  # s0 was answered by one model only
    chosen = choose_questions(samples, 10, 17)
    assert {question.sample_id for question in chosen} == {"s1", "s2", "s3"}
    assert choose_questions(samples, 10, 17) == chosen
    by_id = {question.sample_id: question for question in chosen}
    assert (by_id["s1"].agreed, by_id["s3"].agreed) == (False, True)
    assert choose_questions({}, 10, 17) == []


def test_curves_come_from_the_files(repository: Path) -> None:
    [curves] = training_curves(Path("metrics/history"), ["sft", "sft"])
    [(legend, chart)] = curves.main
    assert "train loss" in legend
    assert 'data-points="1,2,' in chart
    assert "ends at 1.5" in chart


def test_a_broken_history_is_named_with_its_line(repository: Path) -> None:
    Path("metrics/history/sft.csv").write_text("step,train_loss\n1,2.0\n2,oops\n")
    with pytest.raises(DataError, match=r"sft\.csv:3"):
        training_curves(Path("metrics/history"), [])
