from pathlib import Path
from typing import Any

import pytest
from tests.unit.reporting.pages import page_without_models

from forgeline.core.pipeline import read_pipeline
from forgeline.core.storage import write_json
from forgeline.reporting.conversations import conversation_page

METRICS: dict[str, Any] = {
    "records": {"in": 30, "out": 24, "dropped": {"too_long": 5, "echo": 1}},
    "questions": {"reference_answer": {"train": 20, "validation": 3, "test": 1}},
    "sets": {
        "one": {"num_read": 20, "num_train": 15, "num_validation": 2, "num_test": 1},
        "two": {"num_read": 10, "num_train": 5, "num_validation": 1, "num_test": 0},
    },
    "train": {"characters": {"1024": 3, "32": 7, "64": 10}, "turns": {"10": 2, "2": 18}},
}
LEARNED: dict[str, Any] = {
    "max_length": 64, "num_measured": 20, "num_left_out": 2, "tokens": {"16": 18},
    "num_tokens": 200, "num_trained_tokens": 50,
    "samples": [{"source": "one", "task": "reference_answer", "tokens": [
        ["<|im_start|>", False], ["Why <b>?", False], ["\n", False], ["So.", True], ["<|im_end|>", True]]}],
}  # fmt: skip


@pytest.fixture
def page(repository: Path) -> str:
    text = Path("dvc.yaml").read_text()
    stage = "  instructions:\n    cmd: python -m stages.instructions\n    metrics:\n      - metrics/instructions.json\n"
    Path("dvc.yaml").write_text(text.replace("stages:\n", f"stages:\n{stage}", 1))
    write_json(Path("metrics/instructions.json"), METRICS)
    return page_without_models(Path("metrics"), LEARNED)


def test_the_page_shows_where_conversations_went_and_what_they_are(page: str) -> None:
    assert "instructions kept 24 of 30 conversations; dropped: too long 5, echo 1." in page
    assert "train: one 75 %, two 25 %." in page
    assert "up to 32: 7. 33 to 64: 10. 513 to 1,024: 3." in page  # by size, not by the spelling of the number
    assert "2 turns: 18. 10 turns: 2." in page
    assert "Length of 20 drawn at random, in tokens; 2 do not fit into max_length 64" in page
    assert "tokens: learned 25 %, only read 75 %." in page


def test_learned_tokens_are_marked_and_text_is_no_markup(page: str) -> None:
    assert '<span class="token"><span class="special">&lt;|im_start|&gt;</span></span>' in page
    assert '<span class="token">Why &lt;b&gt;?</span>' in page
    assert '<span class="token"><span class="special">↵</span>\n</span>' in page
    assert '<span class="token learned">So.</span>' in page
    assert "one, reference answer: 2 of 5 tokens learned" in page


def test_nothing_is_shown_before_the_stages_have_run(repository: Path) -> None:
    found = conversation_page(Path("metrics"), read_pipeline(), {})
    assert (list(found.figures), list(found.samples)) == ([], [])
    assert 'id="conversations"' not in page_without_models(Path("metrics"), {})
