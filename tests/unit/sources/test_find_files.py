import os
from pathlib import Path

import pytest

from forgeline.core.errors import DataError
from forgeline.sources.find_files import find_files


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def names(folder: Path, pattern: str | None = None) -> list[str]:
    return [file.path.relative_to(folder).as_posix() for file in find_files(folder, pattern)]


def test_files_come_in_the_order_of_their_relative_paths_without_hidden_ones(tmp_path: Path) -> None:
    touch(tmp_path, "b.jsonl", "a/z.jsonl", "a.jsonl", "a/b/c.ndjson", ".hidden.jsonl", ".git/x.jsonl", "10.jsonl.gz")
    assert names(tmp_path) == ["10.jsonl.gz", "a.jsonl", "a/b/c.ndjson", "a/z.jsonl", "b.jsonl"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.txt", ["a.txt"]),
        ("**/*.txt", ["a.txt", "d/b.txt", "d/e/c.txt"]),
        ("d/**/*.txt", ["d/b.txt", "d/e/c.txt"]),
        ("d/*", ["d/b.txt"]),
        ("?.jsonl", ["a.jsonl"]),
    ],
)
def test_a_pattern_chooses_among_the_files(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    touch(tmp_path, "a.txt", "d/b.txt", "d/e/c.txt", "a.jsonl", "d/.x/h.txt")
    assert names(tmp_path, pattern) == expected


@pytest.mark.parametrize(
    ("name", "kind", "is_packed"),
    [
        ("a.txt", "text", False),
        ("README.md", "text", False),
        ("a.JSONL", "jsonl", False),
        ("a.ndjson.zst", "jsonl", True),
        ("a.json.gz", "json", True),
        ("a.csv.GZ", "csv", True),
        ("a.tsv", "tsv", False),
        ("a.parquet", "parquet", False),
        ("v1.2.txt", "text", False),
    ],
)
def test_the_ending_tells_format_and_compression(tmp_path: Path, name: str, kind: str, is_packed: bool) -> None:
    touch(tmp_path, name)
    (file,) = find_files(tmp_path / name, None)
    assert (file.path, file.format, file.is_packed, file.num_bytes) == (tmp_path / name, kind, is_packed, 1)


@pytest.mark.parametrize("name", ["a.pdf", "README", "a.gz", "a.parquet.gz", "a.zst", "txt"])
def test_an_unknown_kind_of_file_is_named_with_what_is_known(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(DataError, match=rf"{name}: unknown kind of file .*: known are \.txt, .*, \.parquet, all"):
            find_files(path, None)


def test_a_mixed_folder_is_refused_with_the_number_of_each_kind(tmp_path: Path) -> None:
    touch(tmp_path, "a.jsonl", "b.jsonl.gz", "c.txt", "d.md", "e.txt", "f.pdf", "g")
    with pytest.raises(DataError) as caught:
        find_files(tmp_path, None)
    assert str(caught.value).startswith(
        f"{tmp_path} holds files of several kinds (1 .pdf, 2 jsonl, 3 text, 1 without ending): choose one kind with"
        " `pattern` in params.yaml"
    )
    assert names(tmp_path, "*.jsonl*") == ["a.jsonl", "b.jsonl.gz"]


@pytest.mark.parametrize(
    ("path", "pattern", "message"),
    [
        ("absent", None, "absent does not exist: correct its path in params.yaml or put the file there"),
        ("absent.jsonl", "*", "absent.jsonl does not exist"),
        ("a.jsonl", "*", "a.jsonl is a file and pattern '\\*' chooses from a folder: set pattern to null"),
        ("empty", None, "empty holds no file: correct path or pattern"),
        (".", "*.csv", "holds no file that matches '\\*.csv': correct path or pattern"),
        ("hidden", None, "hidden holds no file"),
    ],
)
def test_finding_nothing_says_what_was_looked_for(tmp_path: Path, path: str, pattern: str | None, message: str) -> None:
    touch(tmp_path, "a.jsonl", "hidden/.a.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        find_files(tmp_path / path, pattern)


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.jsonl")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus/b.jsonl").symlink_to(tmp_path / "elsewhere/a.jsonl")
    assert names(tmp_path / "corpus") == ["b.jsonl"]


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.jsonl")
    (tmp_path / "corpus").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "corpus") == ["a.jsonl"]


def test_links_in_a_circle_to_folders_and_to_nowhere_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "corpus/a.jsonl")
    link = tmp_path / "corpus/link"
    for target, message in (
        (tmp_path / "corpus", "link is a link to a folder, behind which DVC would see no change"),
        (link, "link is a link that leads nowhere or in a circle: remove it"),
        (tmp_path / "nowhere", "link is a link that leads nowhere"),
    ):
        link.symlink_to(target)
        with pytest.raises(DataError, match=message):
            find_files(tmp_path / "corpus", None)
        link.unlink()


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(DataError, match=r"pipe\.jsonl is neither a file nor a folder"):
        find_files(tmp_path, None)
