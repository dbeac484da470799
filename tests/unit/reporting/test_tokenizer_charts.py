import re
from pathlib import Path
from typing import Any

from tests.unit.reporting.pages import page_without_models

from forgeline.core.params import write_yaml
from forgeline.core.storage import write_json
from forgeline.reporting.tokenizer_charts import MAX_SOURCES, bar_chart, tokenizer_figures


def source(num_tokens: int, bytes_per_token: float) -> dict[str, Any]:
    return {"num_tokens": num_tokens, "bytes_per_token": bytes_per_token, "tokens_per_word": 1.5, "num_documents": 1}


METRICS = {
    "bytes_per_token": 4.0,
    "tokens_per_word": 1.5,
    "sources": {"small": source(10, 2.0), "<large>": source(90, 5.0)},
    "usage": [
        {"at_least": 0, "num_entries": 25, "num_tokens": 0},
        {"at_least": 1, "num_entries": 75, "num_tokens": 40},
        {"at_least": 10, "num_entries": 100, "num_tokens": 360},
    ],
}


def test_bars_are_as_long_as_their_values() -> None:
    chart = bar_chart("t", [("a", 4.0), ("b", 1.0)])
    lengths = [float(width) for width in re.findall(r'<rect class="fill s1"[^>]* width="([\d.]+)"', chart)]
    assert lengths[0] == 4 * lengths[1] > 0
    assert re.findall(r'text-anchor="end">([\d.]+)<', chart) == ["4.00", "1.00"]
    assert bar_chart("t", []) == ""


def test_sources_stand_below_their_sum_the_largest_first() -> None:
    by_bytes, by_words, usage = tokenizer_figures(METRICS)
    assert re.findall(r'class="name" x="0"[^>]*>([^<]*)<', by_bytes.chart) == ["all sources", "&lt;large&gt;", "small"]
    assert [by_bytes.caption, by_words.caption] == ["Bytes per token", "Tokens per word"]
    assert usage.caption == "How often entries occur in the training text"


def test_a_single_source_is_not_shown_twice() -> None:
    only = {**METRICS, "sources": {"one": source(10, 2.0)}}
    assert re.findall(r'class="name" x="0"[^>]*>([^<]*)<', tokenizer_figures(only)[0].chart) == ["one"]


def test_many_sources_are_cut_to_the_largest() -> None:
    many = {**METRICS, "sources": {f"s{number}": source(number, 2.0) for number in range(1, 40)}}
    names = re.findall(r'class="name" x="0"[^>]*>([^<]*)<', tokenizer_figures(many)[0].chart)
    assert names == ["all sources", *(f"s{number}" for number in range(39, 39 - MAX_SOURCES, -1))]


def test_the_use_of_the_vocabulary_is_told_in_shares() -> None:
    usage = tokenizer_figures(METRICS)[2]
    assert [name for _, name in usage.legend] == ["never", "1 to 9 times", "10 times or more"]
    assert "entries of the vocabulary: never 12 %, 1 to 9 times 38 %, 10 times or more 50 %." in usage.chart
    assert "tokens of the training text: never 0 %, 1 to 9 times 10 %, 10 times or more 90 %." in usage.chart


def test_nothing_is_drawn_before_the_stage_has_run() -> None:
    assert tokenizer_figures({}) == []


def test_the_report_shows_them(repository: Path) -> None:
    document = {"stages": {"tokenizer": {"cmd": "python -m stages.tokenizer", "metrics": ["metrics/tokenizer.json"]}}}
    write_yaml(Path("dvc.yaml"), document)
    write_json(Path("metrics/tokenizer.json"), {**METRICS, "vocab_size": 200})
    page = page_without_models(Path("metrics"), {})
    assert "What the tokenizer makes of it" in page
    assert page.count('aria-label="Bytes per token"') == 1
    assert "sources.small" not in page.partition('id="stages"')[0]  # the pictures show it; the rest stands in the card
    assert "vocab size" in page
