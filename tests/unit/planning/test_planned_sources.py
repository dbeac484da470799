"""What a plan says about sources, against what `ingest` then reads."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.unit.sources.source_params import source_params, sources_params
from tests.web import Page, serve

from forgeline.core.errors import DataError
from forgeline.planning.corpus import ANNOUNCED, CAPPED, UNKNOWN, UNREADABLE, SourceEstimate, estimate_sources
from forgeline.planning.sample import COUNTED
from forgeline.sources.fetch_params import FetchParams
from forgeline.sources.hpo_split import HpoParams
from forgeline.sources.ingest import ingest
from forgeline.sources.params import SourceParams

HPO = HpoParams(seed=17, validation_fraction=0.05, test_fraction=0.1, max_phenotypes=8)
PIN = "0" * 64
PACKAGED = {"path": "src/forgeline/sources/hpo.json", "text": None}


def estimate(source: SourceParams, fetch: dict[str, dict[str, Any]] | None = None, **limits: Any) -> SourceEstimate:
    remote = {name: FetchParams.model_validate(values) for name, values in (fetch or {}).items()}
    [found] = estimate_sources(sources_params(source, **limits), remote, HPO, online=True)
    return found


def http(url: str) -> dict[str, dict[str, Any]]:
    return {"far": {"kind": "http", "url": url, "sha256": PIN, "max_megabytes": 10.0}}


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Ten documents of 100 bytes and a blank one."""
    path = tmp_path / "notes.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in ["x" * 100] * 10 + [" "]))
    return path


@pytest.mark.parametrize(
    ("kind", "documents", "num_bytes"), [("hpo_terms", 19_034, 7_050_583), ("hpo_diseases", 12_679, 3_509_306)]
)
def test_packaged_kinds(kind: str, documents: int, num_bytes: int) -> None:
    found = estimate(source_params(**PACKAGED, kind=kind))
    assert found.num_documents == pytest.approx(documents, rel=0.002)
    assert found.num_bytes == pytest.approx(num_bytes, rel=0.1)


@pytest.mark.parametrize(
    ("caps", "documents", "num_bytes", "less"),
    [
        ({}, 10, 1000, False),
        ({"max_documents": 4}, 4, 400, False),
        ({"max_tokens": 75}, 3, 300, False),  # of 4 bytes
        ({"max_documents": 4, "max_tokens": 50}, 2, 200, False),
        ({"max_documents": 10}, 10, 1000, True),
        ({"max_documents": 400, "max_tokens": 100_000}, 10, 1000, True),
    ],
)
def test_caps(notes: Path, caps: dict[str, int], documents: int, num_bytes: int, less: bool) -> None:
    found = estimate(source_params(path=str(notes), **caps))
    assert found == SourceEstimate("mine", documents, num_bytes, COUNTED, has_less_than_asked=less)


@pytest.mark.parametrize(
    ("files", "pattern", "problem"),
    [
        ({}, None, "corpus does not exist"),
        ({"a.jsonl": '{"text": "a"}\n', "b.csv": "text\nb\n"}, None, "holds files of several kinds"),
        ({"a.jsonl": '{"text": "a"}\n{"text": \n'}, None, "a.jsonl:2: not valid JSON"),
        ({"a.jsonl": '{"text": "a"}\n'}, "*.csv", "corpus holds no file that matches '*.csv'"),
        ({"a.jsonl": ""}, None, "a.jsonl is empty: put text into it"),
        ({"a.jsonl": "", "b.jsonl": "\n"}, None, "corpus: its 2 files hold no records"),
        ({"a.jsonl": '{"text": " "}\n{"text": ""}\n'}, None, "corpus: all 2 records are blank"),
    ],
)
def test_a_source_that_ingest_will_refuse_is_said_to_be_unreadable_and_why(
    tmp_path: Path, files: dict[str, str], pattern: str | None, problem: str
) -> None:
    folder = tmp_path / "corpus"
    for name, content in files.items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    source = source_params(path=str(folder), pattern=pattern)
    found = estimate(source)
    assert (found.num_documents, found.num_bytes, found.basis) == (None, None, UNREADABLE)
    assert problem in found.problem
    with pytest.raises(DataError) as refused:
        ingest("mine", folder, sources_params(source), HPO, tmp_path / "documents", tmp_path / "dropped")
    assert str(refused.value) == found.problem


def test_a_file_that_is_not_here_yet_is_as_large_as_its_server_says() -> None:
    pages = {"/a.jsonl": Page(b"x" * 5_000_000), "/moved": Page(status=302, headers={"Location": "/a.jsonl"})}
    with serve(pages) as site:
        direct = estimate(source_params(path="data/fetch/far"), http(f"{site.url}/a.jsonl"))
        moved = estimate(source_params(path="data/fetch/far/a.jsonl"), http(f"{site.url}/moved"))
    assert direct.basis == ANNOUNCED
    assert direct.num_bytes == 4_000_000
    assert moved == direct


@pytest.mark.parametrize("page", [Page(b"x" * 100, length=False), Page(status=404), Page(status=500)])
def test_a_server_that_does_not_say_leaves_it_unknown(page: Page) -> None:
    with serve({"/a.jsonl": page}) as site:
        found = estimate(source_params(path="data/fetch/far"), http(f"{site.url}/a.jsonl"))
    assert (found.num_bytes, found.basis, found.problem) == (None, UNKNOWN, "")


def test_without_a_network_it_is_unknown_but_for_its_caps() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        far = http(f"http://127.0.0.1:{closed.getsockname()[1]}/a.jsonl")
        assert estimate(source_params(path="data/fetch/far"), far).num_bytes is None
        capped = estimate(source_params(path="data/fetch/far", max_tokens=1000), far)
    assert (capped.num_bytes, capped.basis) == (4000, CAPPED)


def test_a_capped_dataset_of_the_hub_holds_at_most_its_cap() -> None:
    hub = {
        "kind": "hub", "dataset": "someone/texts", "subset": None, "split": "train", "revision": "0" * 40,
        "streaming": True, "max_documents": None, "max_tokens": 1_000_000,
    }  # fmt: skip
    found = estimate(source_params(path="data/fetch/far"), {"far": hub})
    assert (found.num_bytes, found.basis) == (4_000_000, CAPPED)
    assert estimate(source_params(path="data/fetch/far"), {"far": {**hub, "max_tokens": None}}).basis == UNKNOWN


def test_fetched_data_are_read(notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "fetch" / "far"
    folder.mkdir(parents=True)
    notes.rename(folder / "notes.jsonl")
    found = estimate(source_params(path="data/fetch/far"), http("http://127.0.0.1:9/a.jsonl"))
    assert (found.num_documents, found.basis) == (10, COUNTED)
