import difflib
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.web import Page, serve
from typer.testing import CliRunner

from forgeline.check import check
from forgeline.cli import app
from forgeline.core.errors import ParamsError
from forgeline.core.params import plain, read_yaml
from forgeline.core.storage import sha256_path, write_jsonl
from forgeline.sources import fetch_hub
from forgeline.sources.declare import ShortForm, parse_short_form
from forgeline.sources.insertion import insert_entry

ROOT = Path(__file__).parents[3]
part = st.text(st.characters(exclude_characters="|", exclude_categories=["Cs", "Cc"]), max_size=12).map(str.strip)


@given(
    dataset=part.filter(bool),
    subset=part,
    split=part.filter(bool),
    weight=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    spaces=st.sampled_from(["", " ", "  "]),
)
def test_what_is_written_is_read(dataset: str, subset: str, split: str, weight: float, spaces: str) -> None:
    text = f"{spaces}|{spaces}".join([dataset, subset, split, repr(weight)])
    found = parse_short_form(text)
    assert found == ShortForm(dataset, subset or None, split, weight)
    assert parse_short_form(str(found)) == found


@given(st.text(st.sampled_from("ab|1-. en\n"), max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse_short_form(text)
    except ParamsError:
        return
    assert text.count("|") == 3
    assert found.dataset
    assert found.split
    assert found.weight > 0


def test_an_empty_subset_and_weight() -> None:
    assert parse_short_form("squad || train |") == ShortForm("squad", None, "train", 1.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("squad", "has 4 parts between bars, not 1"),
        ("squad | | train", "not 3"),
        ("squad | | train | 1 | 2", "not 5"),
        (" | | train | 1", "the dataset is empty"),
        ("squad | | | 1", "the split is empty"),
        ("squad | | train | 0", "weight 0 is not above 0"),
        ("squad | | train | -1", "weight -1 is not above 0"),
        ("squad | | train | nan", "weight nan is not above 0"),
        ("squad | | train | inf", "weight inf is not above 0"),
        ("squad | | train | much", "weight 'much' is not a number"),
    ],
)
def test_short_forms_that_are_refused(text: str, expected: str) -> None:
    with pytest.raises(ParamsError) as error:
        parse_short_form(text)
    assert expected in str(error.value)


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the shipped parameters and pipeline, and the working directory of the test."""
    root = tmp_path / "repository"
    root.mkdir()
    for name in ("params.yaml", "dvc.yaml", "constraints.txt"):
        shutil.copy(ROOT / name, root / name)
    for name in ("src", "stages", "tasks"):
        (root / name).symlink_to(ROOT / name)
    monkeypatch.chdir(root)
    monkeypatch.setenv("NO_PROXY", "*")
    return root


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "sums"
    write_jsonl(folder / "train.jsonl", [{"question": "1 + 1?", "answer": "2"}] * 20)
    return folder


Add = Callable[..., str]


@pytest.fixture
def add(repository: Path) -> Add:
    """Runs `forgeline source add`; returns its error, empty when there was none."""

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["source", "add", *arguments])
        assert result.exit_code in (0, 1), result.output
        return str(result.exception) if result.exception else ""

    return run


def entries(name: str) -> tuple[Any, Any]:
    """What params.yaml says of a source: its fetch, if any, and its reading; the whole of it is valid."""
    check()
    values = plain(read_yaml(Path("params.yaml")))
    return values["fetch"].get(name), values["ingest"]["sources"][name]


def test_a_dataset_folder_becomes_two_complete_entries(add: Add, dataset: Path) -> None:
    text = "{question}\n\n{answer}"
    assert (
        add(
            "sums",
            f"{dataset} | | train | 2.5",
            "--text",
            r"{question}\n\n{answer}",
            "--max-tokens",
            "99",
            "--license",
            "MIT",
        )
        == ""
    )
    fetch, source = entries("sums")
    assert fetch == {
        "kind": "hub",
        "dataset": str(dataset),
        "subset": None,
        "split": "train",
        "revision": sha256_path(dataset),
        "streaming": True,
        "max_documents": None,
        "max_tokens": 99,
    }
    assert source["kind"] == "files"
    assert source["path"] == "data/fetch/sums"
    assert source["text"] == text
    assert source["weight"] == 2.5
    assert source["max_tokens"] is None
    assert source["license"] == "MIT"


def test_a_dataset_of_the_hub_is_pinned_to_its_newest_commit(add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_hub, "newest_commit", lambda dataset: {"owner/sums": "c" * 40}[dataset])
    assert add("sums", "owner/sums | main | train |") == ""
    fetch, source = entries("sums")
    assert fetch["revision"] == "c" * 40
    assert fetch["subset"] == "main"
    assert fetch["streaming"] is False
    assert source["text"] == "text"
    assert source["weight"] == 1.0
    assert add("given", "owner/sums | main | train |", "--revision", "d" * 40) == ""
    assert entries("given")[0]["revision"] == "d" * 40


def test_a_url_with_a_known_hash(add: Add) -> None:
    assert add("notes", "https://host.org/notes.txt.gz", "--sha256", "0" * 64, "--weight", "3") == ""
    fetch, source = entries("notes")
    assert fetch == {
        "kind": "http",
        "url": "https://host.org/notes.txt.gz",
        "sha256": "0" * 64,
        "max_megabytes": 1000.0,
    }
    assert source["path"] == "data/fetch/notes"
    assert (source["text"], source["documents"]) == (None, "file")
    assert source["weight"] == 3.0


def test_a_url_is_downloaded_once_to_pin_it(add: Add, repository: Path) -> None:
    body = b'{"text": "a"}\n' * 1000
    with serve({"/a.jsonl": Page(body)}) as site:
        assert add("pinned", f"{site.url}/a.jsonl", "--pin") == ""
    fetch, source = entries("pinned")
    assert fetch["sha256"] == hashlib.sha256(body).hexdigest()
    assert source["text"] == "text"
    [kept] = (repository / ".dvc" / "tmp" / "scratch").glob("fetch-pinned-*/partial")
    assert kept.read_bytes() == body


def test_a_local_file_and_a_local_folder(add: Add, repository: Path, dataset: Path) -> None:
    (repository / "own").mkdir()
    (repository / "own" / "notes.md").write_text("Notes")
    assert add("inside", str(repository / "own" / "notes.md")) == ""
    assert entries("inside") == (None, entries("inside")[1] | {"path": "own/notes.md", "documents": "file"})
    assert add("poems", "own/notes.md", "--documents", "headings", "--marker", "^# ") == ""
    assert entries("poems")[1]["marker"] == "^# "
    assert add("outside", str(dataset), "--text", "question", "--pattern", "*.jsonl") == ""
    assert entries("outside")[1]["path"] == str(dataset)
    assert "sums is a folder: say what a document is" in add("third", str(dataset))


def test_nothing_else_in_the_file_changes(add: Add, dataset: Path) -> None:
    before = Path("params.yaml").read_text().splitlines()
    add("sums", f"{dataset} | | train |")
    after = Path("params.yaml").read_text().splitlines()
    removed = [line.removeprefix("- ") for line in difflib.ndiff(before, after) if line.startswith("- ")]
    assert removed == [line for line in before if line.startswith("fetch: {}")]
    assert removed[0].replace("{}", "  ") in after


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["hpo_terms", "DATASET | | train |"], "ingest.sources.hpo_terms is there already"),
        (["a/b", "DATASET | | train |"], "'a/b' is no name for a source"),
        (["-", "DATASET | | train |"], "'-' is no name for a source"),
        (["new", "DATASET | train |"], "has 4 parts between bars, not 3"),
        (["new", "DATASET | | train | 0"], "weight 0 is not above 0"),
        (["new", "DATASET | | train | 2", "--weight", "2"], "leave out --weight"),
        (["new", "DATASET | | train |", "--revision", "main"], "params.yaml:NUMBER: fetch.new.revision: 'main' is not"),
        (["new", "DATASET | | train |", "--sha256", "0"], "--sha256 and --pin are for a URL"),
        (["new", "owner/sums | | train |"], "cannot reach the hub for owner/sums"),
        (["new", "DATASET/train.jsonl", "--weight", "-2"], "weight -2 is not above 0"),
        (["new", "DATASET/train.jsonl", "--revision", "main"], "--revision is for a dataset"),
        (["new", "DATASET/gone.jsonl"], "there is no file or folder"),
        (["new", "DATASET/train.jsonl", "--encoding", "latin1"], "ingest.sources.new.encoding: got 'latin1'"),
        (["new", "https://host.org/a.jsonl"], "a URL needs one of --sha256"),
        (["new", "https://host.org/a.jsonl", "--pin", "--sha256", "0" * 64], "a URL needs one of --sha256"),
        (["new", "https://me:canary@host.org/a.jsonl", "--pin"], "the URL: holds a user name or a password"),
        (["new", "https://host.org/a.jsonl?token=canary", "--pin"], "'token' looks like a secret"),
        (["new", "ftp://host.org/canary", "--pin"], "the URL: not a URL of a file"),
    ],
)
def test_what_cannot_be_added(add: Add, dataset: Path, arguments: list[str], expected: str) -> None:
    before = Path("params.yaml").read_bytes()
    message = add(*(argument.replace("DATASET", str(dataset)) for argument in arguments))
    before_number, _, after_number = expected.partition("NUMBER")
    assert before_number in message
    assert after_number in message
    assert "canary" not in message
    assert len(message.splitlines()) == 1
    assert Path("params.yaml").read_bytes() == before
    assert not list(Path().glob(".params*"))


def test_a_name_can_be_added_once(add: Add, dataset: Path) -> None:
    assert add("sums", f"{dataset} | | train |") == ""
    before = Path("params.yaml").read_bytes()
    assert "ingest.sources.sums is there already" in add("sums", f"{dataset} | | test |")
    assert Path("params.yaml").read_bytes() == before


def test_a_path_that_a_shell_would_read_otherwise(add: Add, repository: Path) -> None:
    (repository / "two words.txt").write_text("x")
    assert "holds a space or another character that shells interpret" in add("words", "two words.txt")


# --- the text of the file -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a:\n  b: {}  # note\nc: 1\n", "a:\n  b:     # note\n    new:\n      x: 1\nc: 1\n"),
        (
            "a:\n  b:\n    old: {x: 0}\n# about c\nc: 1\n",
            "a:\n  b:\n    old: {x: 0}\n    new:\n      x: 1\n# about c\nc: 1\n",
        ),
        (
            "a:\n  b:\n     old:\n       - 1\n  # deeper\n       - 2  # two\n\n  d: 0",
            "a:\n  b:\n     old:\n       - 1\n  # deeper\n       - 2  # two\n     new:\n       x: 1\n\n  d: 0",
        ),
        (
            "a:\n  b:\n    old: >-\n      # text\n\n      more",
            "a:\n  b:\n    old: >-\n      # text\n\n      more\n    new:\n      x: 1\n",
        ),
        (
            "a:\n  b:\n    old:\n    - 1\n",
            "a:\n  b:\n    old:\n    - 1\n    new:\n      x: 1\n",
        ),
    ],
)
def test_an_entry_is_put_behind_the_last_one(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(before)
    values = plain(read_yaml(file))
    insert_entry(file, "a.b", "new", {"x": 1})
    assert file.read_text() == after
    values["a"]["b"]["new"] = {"x": 1}
    assert plain(read_yaml(file)) == values


def test_a_section_in_braces_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("a:\n  b: {old: 1}\n")
    with pytest.raises(ParamsError, match=r"x\.yaml:2: a\.b is written in braces"):
        insert_entry(file, "a.b", "new", {"x": 1})
    assert file.read_text() == "a:\n  b: {old: 1}\n"
