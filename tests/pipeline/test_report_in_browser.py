"""The report in headless Chromium: it loads without a network, and sorting, searching and choosing do what they say."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks.report_inputs import commit_past, make_run

from forgeline.core.params import plain, read_yaml
from forgeline.core.storage import read_json, read_jsonl
from tests.browser import NO_BROWSER, Tab, find_browser, open_browser

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_browser() is None, reason=NO_BROWSER)]

READY = "document.getElementById('shown').textContent.includes('match')"
NUM_MODELS, NUM_SAMPLES = 9, 120
FAILED = "gptq_w4_2"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a committed past, in which one evaluation failed, and its report."""
    root = tmp_path_factory.mktemp("report") / "run"
    command = make_run(root, NUM_MODELS, NUM_SAMPLES)
    (root / "metrics" / "evaluate" / f"{FAILED}.json").unlink()
    commit_past(root, 1)
    environment = {"PYTHONPATH": str(Path("src").resolve()), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, *command], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    binary = find_browser()
    assert binary is not None
    with open_browser(binary, tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def tab(browser: Tab, run: Path) -> Iterator[Tab]:
    """The report, opened anew; whatever a test does may neither fail in the page nor reach for anything outside."""
    page = run / "metrics" / "report.html"
    browser.open(page, READY)
    yield browser
    assert browser.problems == []
    assert set(browser.requests) == {page.resolve().as_uri()}


def column(tab: Tab, label: str) -> list[str]:
    """The values of a leaderboard column by which it sorts, from top to bottom."""
    values: list[str] = tab.run(
        "(() => { const board = document.getElementById('board');"
        "const heads = [...board.tHead.rows[0].cells].map((cell) => cell.textContent.trim());"
        f"const place = heads.findIndex((text) => text.startsWith('{label}'));"
        "return [...board.tBodies[0].rows].map((row) => row.cells[place]?.dataset.sort ?? ''); })()"
    )
    return values


def choose(tab: Tab, control: str, value: str) -> None:
    tab.run(
        f"(() => {{ const control = document.getElementById('{control}'); control.value = '{value}';"
        "control.dispatchEvent(new Event(control.tagName === 'SELECT' ? 'change' : 'input')); })()"
    )


def num_matching(tab: Tab) -> int:
    return int(tab.run("document.getElementById('shown').textContent").split(" ")[0].replace(",", ""))


def test_columns_sort_by_click_and_by_keyboard(tab: Tab) -> None:
    head = "[...document.querySelectorAll('#board thead button')].find((it) => it.textContent.startsWith('yes/no acc'))"
    tab.run(f"{head}.click()")
    measured = [float(value) for value in column(tab, "yes/no accuracy") if value]
    assert measured == sorted(measured)
    assert len(measured) == NUM_MODELS - 1
    assert column(tab, "yes/no accuracy")[-1] == ""  # what was not measured stays last
    tab.run(f"{head}.focus()")
    tab.press("Enter")
    measured = [float(value) for value in column(tab, "yes/no accuracy") if value]
    assert measured == sorted(measured, reverse=True)
    assert column(tab, "yes/no accuracy")[-1] == ""
    assert tab.run(f"{head}.closest('th').getAttribute('aria-sort')") == "descending"
    tab.press("Space")
    assert tab.run(f"{head}.closest('th').getAttribute('aria-sort')") == "ascending"
    assert tab.run("document.querySelectorAll('#board th[aria-sort=ascending]').length") == 1


def test_models_are_found_by_a_part_of_their_name(tab: Tab) -> None:
    shown = "[...document.querySelectorAll('#board tbody tr')].filter((row) => !row.hidden).map((r) => r.dataset.model)"
    assert len(tab.run(shown)) == NUM_MODELS
    choose(tab, "models", "GPTQ_w4_")
    assert tab.run(shown) == ["gptq_w4_0", "gptq_w4_1", FAILED]


def test_a_failed_evaluation_has_a_row_with_its_reason(tab: Tab) -> None:
    said = tab.run("document.querySelector('#board tr.failed').textContent")
    assert FAILED in said
    assert "not evaluated" in said
    assert f"dvc repro evaluate@{FAILED}" in said


def rows_of(run: Path, model: str) -> list[dict[str, Any]]:
    return read_jsonl(run / "data" / "evaluate" / model / "samples.jsonl")


@pytest.mark.parametrize("verdict", ["right", "wrong", "unparsed"])
def test_samples_are_filtered_by_task_model_and_verdict(tab: Tab, run: Path, verdict: str) -> None:
    found = [row for row in rows_of(run, "sft") if row["task"] == "is_a"]
    verdicts = ["right" if row["correct"] else "unparsed" if row["parsed"] is None else "wrong" for row in found]
    choose(tab, "task", "is_a")
    choose(tab, "model", str(read_yaml(run / "params.yaml")["evaluate"]["models"].index("sft")))
    assert num_matching(tab) == len(found)
    choose(tab, "verdict", verdict)
    assert num_matching(tab) == verdicts.count(verdict) > 0


def test_samples_are_compared_with_those_of_the_parent(tab: Tab, run: Path) -> None:
    before, after = ({row["sample_id"]: row["correct"] for row in rows_of(run, model)} for model in ("base", "sft"))
    gained = sum(after[key] is True and before[key] is False for key in after)
    choose(tab, "model", str(read_yaml(run / "params.yaml")["evaluate"]["models"].index("sft")))
    choose(tab, "verdict", "gained")
    assert num_matching(tab) == gained > 0
    names = tab.run(
        "[...document.querySelectorAll('#questions .question:first-child .who')].map((it) => it.textContent)"
    )
    assert [name.split()[1] for name in names] == ["base", "sft"]  # before, after


def test_samples_are_searched_in_questions_and_answers(tab: Tab, run: Path) -> None:
    row = next(row for row in rows_of(run, "dpo") if row["task"] == "organ_system")
    choose(tab, "find", row["parsed"] or row["output"][7:-1])
    assert num_matching(tab) == 1
    assert row["sample_id"][:8] in tab.run("document.getElementById('questions').textContent")
    choose(tab, "find", "no such words anywhere")
    assert num_matching(tab) == 0
    choose(tab, "find", "")
    assert num_matching(tab) == NUM_SAMPLES
    assert tab.run("document.querySelectorAll('#questions .question').length") == 20
    tab.run("document.getElementById('more').click()")
    assert tab.run("document.querySelectorAll('#questions .question').length") == 40


def test_a_score_leads_to_its_samples(tab: Tab) -> None:
    tab.run("document.querySelector('a.drill[data-model=dpo][data-task=preference]').click()")
    assert tab.run("document.getElementById('task').value") == "preference"
    chosen = tab.run("document.getElementById('model').selectedOptions[0].textContent")
    assert chosen == "dpo"
    assert num_matching(tab) == NUM_SAMPLES / 5


def test_a_stage_of_the_graph_opens_what_made_it(tab: Tab, run: Path) -> None:
    tab.run("document.querySelector('.node[data-stage=curate]').focus()")
    tab.press("Enter")
    said = tab.run("document.getElementById('stage').textContent")
    entry = plain(read_yaml(run / "dvc.lock"))["stages"]["curate"]
    for dep in entry["deps"]:
        assert dep["path"] in said
        assert dep["md5"][:12] in said
    assert "Made-up terms" in said  # the data card
    tab.run("document.querySelector('.node[data-stage=sft]').dispatchEvent(new Event('click'))")
    said = tab.run("document.getElementById('stage').textContent")
    assert "learning_rate" in said
    assert "Made-up terms" not in said


def test_curves_of_revisions_are_laid_over_each_other_and_hidden(tab: Tab) -> None:
    names = tab.run("[...document.querySelectorAll('#experiments input')].map((box) => box.dataset.line)")
    assert len(names) == 2
    assert names[0] == "workspace"
    assert names[1].endswith("try 0")
    visible = (
        "[...document.querySelectorAll('#experiments .line')].filter((it) => getComputedStyle(it).display !== 'none')"
    )
    both = tab.run(f"{visible}.length")
    tab.run("document.querySelectorAll('#experiments input')[1].click()")
    assert tab.run(f"{visible}.length") == both / 2
    assert "sft.seed" in tab.run("document.getElementById('experiments').textContent")


def test_dark_and_light_follow_the_system_and_the_switch(tab: Tab, run: Path) -> None:
    page = run / "metrics" / "report.html"
    background = "getComputedStyle(document.body).backgroundColor"
    light = tab.run(background)
    tab.open(page, READY, dark=True)
    dark = tab.run(background)
    assert dark != light
    tab.run("document.getElementById('theme').click()")
    assert tab.run(background) == light
    assert contrast(tab) >= 4.5
    tab.run("document.getElementById('theme').click()")
    assert tab.run(background) == dark
    assert contrast(tab) >= 4.5


def contrast(tab: Tab) -> float:
    """The least contrast of quiet text, verdicts and links with their background (WCAG 2, relative luminance)."""
    ratio: float = tab.run("""(() => {
      const light = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map(Number).map((it) => it / 255)
        .map((it) => (it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4))
        .reduce((sum, it, index) => sum + it * [0.2126, 0.7152, 0.0722][index], 0);
      const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      const against = (front, back) => ratio(light(front), light(back));
      const surface = getComputedStyle(document.querySelector('.board')).backgroundColor;
      const seen = ['.note', '.up', '.down', '.failed td', '.task', 'nav a'].map((it) => document.querySelector(it));
      return Math.min(...seen.filter(Boolean).map((it) => against(getComputedStyle(it).color, surface)));
    })()""")
    return ratio


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_never_scrolls_sideways(tab: Tab, run: Path, dark: bool) -> None:
    tab.open(run / "metrics" / "report.html", READY, width=375, height=700, dark=dark)
    assert tab.run("innerWidth") == 375
    assert tab.run("document.documentElement.scrollWidth") == 375
    tab.run("document.querySelector('.node[data-stage=curate]').dispatchEvent(new Event('click'))")
    tab.run("document.querySelectorAll('details').forEach((it) => { it.open = true; })")
    assert tab.run("document.documentElement.scrollWidth") == 375
    wide = tab.run(
        "document.querySelector('#board').scrollWidth > document.querySelector('#board').parentElement.clientWidth"
    )
    assert wide  # the table scrolls in its own box


def test_the_page_is_small(run: Path) -> None:
    size = (run / "metrics" / "report.html").stat().st_size
    assert size < 5_000_000
    assert read_json(run / "metrics" / "report.json")["report_bytes"] == size
