"""docs/alignment.md shows one complete section for each method, and preference-data.md one for graded answers."""

import re
from pathlib import Path
from typing import Any, get_args

from forgeline.core.params import plain, read_yaml
from forgeline.sources.preferences import PreferenceParams
from forgeline.training.params.align import AlignParams, AnyAlignParams

DOCS = Path(__file__).parents[3] / "docs"


def sections(page: str, section: str, folder: Path) -> list[dict[str, Any]]:
    """What the page's examples of params.yaml say about a section."""
    found = []
    text = (DOCS / page).read_text(encoding="utf-8")
    for number, block in enumerate(re.findall(r"^```yaml\n(# params\.yaml\n.*?)^```", text, re.MULTILINE | re.DOTALL)):
        file = folder / f"{number}.yaml"
        file.write_text(block, encoding="utf-8")
        found.append(plain(read_yaml(file))[section])
    return found


def test_every_method_is_shown_once_and_complete(tmp_path: Path) -> None:
    shown = [
        (name, entry) for section in sections("alignment.md", "align", tmp_path) for name, entry in section.items()
    ]
    methods = [get_args(kind.model_fields["method"].annotation)[0] for kind in get_args(AnyAlignParams)]
    assert [name for name, _ in shown] == methods
    for name, entry in shown:
        params = AlignParams.model_validate(entry).root
        assert params.method == name
        assert params.model_dump() == entry


def test_the_default_is_the_one_shown(tmp_path: Path) -> None:
    default = plain(read_yaml(DOCS.parent / "params.yaml"))["align"]["dpo"]
    assert sections("alignment.md", "align", tmp_path)[0]["dpo"] == default


def test_sets_of_files_are_shown_complete(tmp_path: Path) -> None:
    values = plain(read_yaml(DOCS.parent / "params.yaml"))["preferences"]
    shown = sections("preference-data.md", "preferences", tmp_path)
    assert len(shown) == 2
    for example in shown:
        PreferenceParams.model_validate({**values, **example})
