"""What the documentation names exists: files, headings, commands, make targets, parameters, stages."""

import re
from pathlib import Path
from typing import Any

import pytest

from forgeline.check import check
from forgeline.cli import app
from forgeline.core.params import plain, read_yaml, write_yaml
from forgeline.core.pipeline import read_pipeline

PAGES = [Path("README.md"), Path("CHANGELOG.md"), *sorted(Path("docs").glob("*.md"))]
PARAMS = plain(read_yaml(Path("params.yaml")))
COMMANDS = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
COMMANDS |= {group.name for group in app.registered_groups if group.name}
TARGETS = set(re.findall(r"^([a-z]+):", Path("Makefile").read_text(), re.MULTILINE))
STAGES = {stage.name for stage in read_pipeline(templates=True)}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FILE_SUFFIXES = (".json", ".jsonl", ".yaml", ".py", ".csv", ".html", ".parquet", ".safetensors", ".jinja", ".bin")
_TREES = ("src/", "stages/", "tests/", "scripts/", "presets/", "docs/")

each_page = pytest.mark.parametrize("page", PAGES, ids=str)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and content of every fenced block."""
    return _FENCE.findall(page.read_text())


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text())


def code(page: Path) -> list[str]:
    """Inline code and the lines of shell blocks."""
    shell = [line for language, text in blocks(page) if language == "bash" for line in text.splitlines()]
    return _INLINE.findall(prose(page)) + [line.partition(" #")[0] for line in shell]


def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        goal = page.parent / path if path else page
        assert goal.exists(), f"{page}: {target}"
        if fragment:
            assert fragment in anchors(goal), f"{page}: {target} has no such heading"


@each_page
def test_named_commands_exist(page: Path) -> None:
    named = {command for text in code(page) for command in re.findall(r"\bforgeline +([a-z]+)", text)}
    assert named <= COMMANDS


@each_page
def test_named_make_targets_exist(page: Path) -> None:
    named = {target for text in code(page) for target in re.findall(r"\bmake +([a-z]+)", text)}
    assert named <= TARGETS


@each_page
def test_named_parameters_exist(page: Path) -> None:
    set_on_the_command_line = [name for text in code(page) for name in re.findall(r"-S +([\w.]+)=", text)]
    for name in [*_INLINE.findall(prose(page)), *set_on_the_command_line]:
        first, *rest = name.split(".")
        if first not in PARAMS or not re.fullmatch(r"\w+(\.[\w<>]+)+", name) or name.endswith(_FILE_SUFFIXES):
            continue
        value: Any = PARAMS[first]
        for part in rest:
            if part.startswith("<") and not value:
                break  # of a section that holds nothing by default
            key = next(iter(value)) if part.startswith("<") else part
            assert isinstance(value, dict), f"{page}: {name}"
            assert key in value, f"{page}: {name}"
            value = value[key]


@each_page
def test_named_source_files_exist(page: Path) -> None:
    for name in _INLINE.findall(prose(page)):
        if name.startswith(_TREES) and not re.search(r"[<*\s]", name):
            assert Path(name).exists(), f"{page}: {name}"


@each_page
def test_examples_of_params_are_valid(page: Path, tmp_path: Path) -> None:
    for number, (language, text) in enumerate(blocks(page)):
        if language == "yaml" and text.startswith("# params.yaml"):
            example = tmp_path / f"{number}.yaml"
            example.write_text(text)
            merged = tmp_path / f"{number}-params.yaml"
            write_yaml(merged, merge(PARAMS, plain(read_yaml(example))))
            check(merged)


def merge(values: Any, changes: Any) -> Any:
    """Nested mappings with some values changed or added."""
    if not isinstance(values, dict) or not isinstance(changes, dict):
        return changes
    return values | {key: merge(values.get(key), change) for key, change in changes.items()}


def test_every_stage_is_documented_and_drawn() -> None:
    reference = Path("docs/reference.md").read_text()
    table = reference.partition("## Stages")[2].partition("\n\nWhich sources")[0]
    picture = Path("docs/images/pipeline.svg").read_text()
    assert {stage for stage in STAGES if not re.search(rf"^\| `{stage}[@`]", table, re.MULTILINE)} == set()
    assert {stage for stage in STAGES if not re.search(rf">{stage}\b", picture)} == set()
    assert set(re.findall(r"^\| `(\w+)", table, re.MULTILINE)) == STAGES


def test_every_command_and_target_is_documented() -> None:
    reference = Path("docs/reference.md").read_text()
    assert {command for command in COMMANDS if f"`forgeline {command}" not in reference} == set()
    assert {target for target in TARGETS - {"bench"} if f"`make {target}`" not in reference} == set()


def test_the_changelog_names_the_version() -> None:
    version = re.search(r'^version = "(.+)"', Path("pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert f"## [{version[1]}]" in Path("CHANGELOG.md").read_text()
