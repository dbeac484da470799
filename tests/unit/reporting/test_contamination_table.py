"""The report's table of evaluation texts that stand in training text."""

import re
from pathlib import Path
from typing import Any

from tests.unit.reporting.pages import page_without_models

from forgeline.core.storage import write_json
from forgeline.evaluation.scores import proportion
from forgeline.reporting.contamination import contamination_table


def share(found: int, number: int) -> dict[str, Any]:
    return proportion([True] * found + [False] * (number - found), None, None).as_json()


def written(metrics: Path) -> None:
    shares = {"any": share(3, 40), "corpus": share(1, 40), "instructions": share(2, 40), "too_short": 5}
    write_json(metrics / "contamination.json", {"tasks": {"is_a": {"prompts": shares}}, "unchecked": ["arc"]})


def test_shares_stand_beside_their_place(tmp_path: Path) -> None:
    written(tmp_path)
    page = page_without_models(tmp_path, {})
    section = page[page.index('<section id="contamination">') :]
    cells = re.findall(r"<td[^>]*>([^<]*)", section[: section.index("</table>")])
    assert [cell.strip() for cell in cells] == ["40", "5", "7.5 %", "2.5 %", "5.0 %"]
    assert "2.6 to 19.9" in section
    assert "Not looked at: arc" in section


def test_without_the_stage_there_is_no_section(tmp_path: Path) -> None:
    assert contamination_table(tmp_path) is None
    assert 'id="contamination"' not in page_without_models(tmp_path, {})
