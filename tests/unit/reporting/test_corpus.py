"""The drop funnel and the source mix: from metrics files to drawings."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgeline.core.pipeline import PipelineStage
from forgeline.core.storage import write_json
from forgeline.reporting.corpus import FunnelStage, Mix, drop_funnel, source_funnels, source_mix, trained_mix
from forgeline.reporting.corpus_charts import (
    FAMILIES,
    OTHERS,
    family_of,
    fold_sources,
    funnel_chart,
    mix_chart,
    source_styles,
)
from forgeline.reporting.plots import WIDTH
from forgeline.text.quality.rules import RULES

COUNTS = st.dictionaries(
    st.sampled_from([*(rule for rules in RULES.values() for rule in rules), "empty", "too_short", "language", "new"]),
    st.integers(1, 10**9),
)


def stage(address: str) -> PipelineStage:
    return PipelineStage(address, "", (), (), ())


STAGES = [stage(name) for name in ("ingest@a", "ingest@b", "clean@a", "clean@b", "curate", "pretrain")]


def records(num_in: int, num_out: int, **dropped: int) -> dict[str, Any]:
    return {"in": num_in, "out": num_out, "dropped": dropped}


def text(num_documents: int) -> dict[str, int]:
    return {"num_documents": num_documents, "num_characters": 9 * num_documents, "num_bytes": 10 * num_documents}


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    for path, content in {
        "ingest/a": {"records": records(110, 100, over_limit=10), "documents": text(100)},
        "ingest/b": {"records": records(50, 50), "documents": text(50)},
        "clean/a": {"records": records(100, 80, too_short=15, language=5), "documents": text(80)},
        "clean/b": {"records": records(50, 40, too_short=10), "documents": text(40)},
        "curate": {
            "records": records(120, 90, near_duplicate=25, contaminated=5),
            "dropped_by_source": {"a": {"near_duplicate": 20}, "b": {"near_duplicate": 5, "contaminated": 5}},
            "sources": {"train": {"a": text(50), "b": text(28)}, "validation": {"a": text(10)}, "test": {"b": text(2)}},
        },
        "pretrain": {"source_mix": {"a": 0.5, "b": 0.5}},
    }.items():
        write_json(tmp_path / f"{path}.json", content)
    return tmp_path


def test_the_funnel_adds_up_sources_and_reasons(metrics: Path) -> None:
    assert drop_funnel(metrics, STAGES) == [
        FunnelStage("ingest", 160, 150, [("over_limit", 10)]),
        FunnelStage("clean", 150, 120, [("too_short", 25), ("language", 5)]),
        FunnelStage("curate", 120, 90, [("near_duplicate", 25), ("contaminated", 5)]),
    ]


def test_each_source_has_a_funnel_of_its_own(metrics: Path) -> None:
    found = source_funnels(metrics, STAGES)
    assert [(row.stage, row.num_in, row.num_out) for row in found["a"]] == [
        ("ingest", 110, 100), ("clean", 100, 80), ("curate", 80, 60),
    ]  # fmt: skip
    assert found["b"][2] == FunnelStage("curate", 40, 30, [("contaminated", 5), ("near_duplicate", 5)])


def test_the_mix_follows_the_sources_from_stage_to_stage(metrics: Path) -> None:
    assert source_mix(metrics, STAGES, "num_bytes") == [
        Mix("ingested", {"a": 1000, "b": 500}),
        Mix("cleaned", {"a": 800, "b": 400}),
        Mix("training split", {"a": 500, "b": 280}),
    ]
    assert trained_mix(metrics, STAGES) == Mix("read in pretraining", {"a": 0.5, "b": 0.5})


def test_before_anything_has_run_there_is_nothing_to_show(tmp_path: Path) -> None:
    assert drop_funnel(tmp_path, STAGES) == []
    assert source_funnels(tmp_path, STAGES) == {}
    assert source_mix(tmp_path, STAGES, "num_bytes") == []
    assert trained_mix(tmp_path, STAGES) is None
    assert funnel_chart("funnel", []) == mix_chart("mix", [], {}, "bytes") == ""


def test_every_rule_stands_under_the_name_of_its_family() -> None:
    names = {
        "gopher_repetition": "Gopher repetition",
        "gopher_quality": "Gopher quality",
        "c4": "C4",
        "fineweb": "FineWeb",
    }
    assert {family_of(rule).title for rules in RULES.values() for rule in rules} == set(names.values())
    for family, rules in RULES.items():
        assert {family_of(rule).title for rule in rules} == {names[family]}
    assert family_of("something_new") == FAMILIES[-1]


@given(COUNTS, st.integers(0, 10**9))
def test_a_funnel_of_any_reasons_is_well_formed_and_says_all_of_it(dropped: dict[str, int], kept: int) -> None:
    row = FunnelStage("clean", kept + sum(dropped.values()), kept, list(dropped.items()))
    root = ElementTree.fromstring(funnel_chart("funnel", [row]))
    description = root.findtext("desc") or ""
    for reason, number in dropped.items():
        assert f"{reason.replace('_', ' ')} {number:,}" in description
    texts = [text.text or "" for text in root.iter("text")]
    shown = sum(int(text.split()[0].replace(",", "")) for text in texts if re.match(r"[\d,]+ \(", text))
    assert sum(dropped.values()) <= shown <= 2 * sum(dropped.values())  # families of several reasons show their sum
    bar = [rect for rect in root.iter("rect") if rect.attrib["height"] == "13"]
    widths = [float(rect.attrib["width"]) for rect in bar]
    assert sum(widths) == pytest.approx(WIDTH if row.num_in else 0, abs=0.2)


def test_segments_of_a_mix_are_shares(metrics: Path) -> None:
    rows = source_mix(metrics, STAGES, "num_bytes")
    root = ElementTree.fromstring(mix_chart("mix", rows, source_styles(rows), "bytes"))
    widths = [(rect.attrib["class"], float(rect.attrib["width"])) for rect in root.iter("rect")]
    assert widths[:2] == [
        ("fill s1", pytest.approx(WIDTH * 2 / 3, abs=0.01)),
        ("fill s2", pytest.approx(WIDTH / 3, abs=0.01)),
    ]
    assert "training split: a 64 %, b 36 %." in (root.findtext("desc") or "")


def test_of_many_sources_the_small_ones_are_drawn_together() -> None:
    rows = [Mix("ingested", {f"source_{number}": number**2 for number in range(1, 21)})]
    styles = source_styles(rows)
    assert list(styles) == [*(f"source_{number}" for number in range(14, 21)), OTHERS]
    assert len(set(styles.values())) == 8
    folded = fold_sources(rows[0].amounts, styles)
    assert folded[OTHERS] == sum(number**2 for number in range(1, 14))
    assert sum(folded.values()) == rows[0].total
