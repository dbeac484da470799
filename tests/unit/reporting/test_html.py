import base64
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.unit.reporting.pages import NO_EXPERIMENTS

from forgeline.core.errors import DataError
from forgeline.core.pipeline import read_pipeline
from forgeline.core.storage import read_jsonl, sha256_text, write_jsonl
from forgeline.reporting.comparison import compare
from forgeline.reporting.html import Content, render_report
from forgeline.reporting.leaderboard import collect_rows, not_evaluated
from forgeline.reporting.lineage import locked_stages_now
from forgeline.reporting.samples import Limits
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


LIMITS = Limits(per_task=100, characters=200, seed=17)
CARD = (
    "---\nlicense: other\n---\n\n# Terms\n\n| split | rows |\n| - | - |\n| train | 7 |\n\n<script>alert(2)</script>\n"
)


def render(order: tuple[str, ...] = ("base", "sft"), max_bytes: int = 500_000) -> str:
    samples = {name: read_jsonl(Path(f"data/evaluate/{name}/samples.jsonl")) for name in ("base", "sft")}
    parents = {"sft": "base"}
    rows = collect_rows(Path("metrics"), order, parents, compare(samples, parents))
    content = Content(rows, not_evaluated(Path("metrics"), order, {}), samples, {}, NO_EXPERIMENTS, CARD)
    page, _ = render_report(Path("metrics"), content, read_pipeline(), locked_stages_now(), LIMITS, max_bytes)
    return page


def packed(text: str) -> list[list[Any]]:
    """The questions in the page, as the browser unpacks them."""
    match = re.search(r'<script type="text/plain" id="samples-data">([^<]*)</script>', text)
    assert match
    lines = gzip.decompress(base64.b64decode(match[1])).decode().split("\n")
    return [json.loads(line) for line in lines if line]


def test_the_page_needs_nothing_from_elsewhere(repository: Path) -> None:
    text = render()
    links = [value for _, attrs in Page(text).tags for name, value in attrs.items() if name in ("src", "href")]
    assert links
    assert all(link and link.startswith("#") for link in links)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", text)


def test_model_output_cannot_become_markup(repository: Path) -> None:
    text = render()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(2)" in text  # of the data card
    outputs = {answer[1] for *_, answers, _ in packed(text) for answer in answers}
    assert outputs == {"right", "</script><script>alert(1)</script>"}  # packed, and set as text by the page


def test_the_page_shows_every_part(repository: Path) -> None:
    page = Page(render())
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {"leaderboard", "scores", "training", "data", "samples", "lineage"} <= ids
    assert "cost" not in ids  # nothing was benchmarked, so nothing is claimed
    nodes = [attrs["data-stage"] for _, attrs in page.tags if "data-stage" in attrs]
    assert sorted(map(str, nodes)) == ["evaluate@base", "evaluate@sft", "ingest", "pretrain", "sft"]
    assert len(packed(render())) == 4


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
    nothing = Content([], [], {}, {}, NO_EXPERIMENTS, "")
    text, samples = render_report(tmp_path / "nowhere", nothing, read_pipeline(), {}, LIMITS, 500_000)
    assert "No model has been evaluated yet." in text
    assert samples.num_answers == 0
    Page(text)


def test_a_model_without_evaluation_has_a_row_that_says_why(repository: Path) -> None:
    text = render(order=("base", "sft", "dpo"))
    page = Page(text)
    rows = [attrs for tag, attrs in page.tags if tag == "tr" and attrs.get("class") == "failed"]
    assert [row["data-model"] for row in rows] == ["dpo"]
    assert "not evaluated" in text
    assert "dvc repro evaluate@dpo" in text


def test_full_names_have_a_column_where_there_are_any(repository: Path) -> None:
    def page(*names: str) -> str:
        rows = [
            {**row, "full_name": name}
            for row, name in zip(collect_rows(Path("metrics"), [], {}, []), names, strict=True)
        ]
        content = Content(rows, [], {}, {}, NO_EXPERIMENTS, "")
        return render_report(Path("metrics"), content, read_pipeline(), {}, LIMITS, 500_000)[0]

    assert "<code>llama.2.6M-hpo_sft_full</code>" in page("", "llama.2.6M-hpo_sft_full")
    assert ">full name<" not in page("", "")


def test_the_page_keeps_to_its_size_and_says_what_is_left_out(repository: Path) -> None:
    rows = [row | {"sample_id": f"{row['sample_id']}-{number}", "output": sha256_text(str(number)) * 3}
            for number in range(3000) for row in read_jsonl(Path("data/evaluate/sft/samples.jsonl"))]  # fmt: skip
    write_jsonl(Path("data/evaluate/sft/samples.jsonl"), rows)
    text = render(max_bytes=400_000)
    assert len(text.encode()) <= 400_000
    match = re.search(r'id="samples-head">(.*?)</script>', text)
    assert match
    head = json.loads(match[1])
    assert 0 < head["tasks"]["organ_system"]["shown"] < head["tasks"]["organ_system"]["total"]
    assert head["tasks"]["organ_system"]["shown"] <= LIMITS.per_task


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
