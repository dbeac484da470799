from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgeline.core.errors import ParamsError
from forgeline.core.params import load, write_yaml
from forgeline.sources.fetch_params import (
    FetchParams,
    HttpParams,
    HubParams,
    TokenEstimate,
    check_url,
    display_url,
    file_name,
)

HTTP = {"kind": "http", "url": "https://host.org/a/b.jsonl.gz", "sha256": "0" * 64, "max_megabytes": 10}
HUB = {
    "kind": "hub",
    "dataset": "owner/name",
    "subset": None,
    "split": "train",
    "revision": "a" * 40,
    "streaming": False,
    "max_documents": None,
    "max_tokens": None,
}


def loaded(tmp_path: Path, values: Any) -> FetchParams:
    write_yaml(tmp_path / "params.yaml", {"fetch": {"x": values}, "ingest": {"bytes_per_token": 4.0, "sources": {}}})
    return load("fetch.x", FetchParams, tmp_path / "params.yaml")


def test_each_kind_has_its_own_parameters(tmp_path: Path) -> None:
    assert loaded(tmp_path, HTTP) == HttpParams(**HTTP)
    assert loaded(tmp_path, HUB) == HubParams(**HUB)
    assert load("ingest", TokenEstimate, tmp_path / "params.yaml").bytes_per_token == 4.0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (HTTP | {"kind": "ftp"}, "fetch.x.kind: got 'ftp' (text), expected 'http' or 'hub'"),
        ({"url": "https://a/b"}, "fetch.x.kind is missing"),
        ("owner/name", "fetch.x: got 'owner/name' (text), expected"),
        (HTTP | {"split": "train"}, "fetch.x.split is not a known parameter"),
        ({key: HTTP[key] for key in ("kind", "url", "sha256")}, "fetch.x.max_megabytes is missing"),
        (HTTP | {"sha256": "ABC"}, "fetch.x.sha256: not a SHA-256"),
        (HTTP | {"max_megabytes": 0}, "fetch.x.max_megabytes: got 0"),
        (HUB | {"revision": "main"}, "fetch.x.revision: 'main' is not a full commit (40 hex digits), and branches"),
        (HUB | {"revision": "a" * 39}, "is not a full commit"),
        (HUB | {"split": "train[:10%]"}, "is not the name of one split"),
        (HUB | {"dataset": "https://huggingface.co/owner/name"}, "is no id of the hub"),
        (HUB | {"dataset": "./folder"}, "is no id of the hub"),
        (HUB | {"max_documents": 0}, "fetch.x.max_documents: got 0"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, values: Any, expected: str) -> None:
    with pytest.raises(ParamsError) as error:
        loaded(tmp_path, values)
    assert expected in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://me:canary@host.org/b.txt",
        "https://canary@host.org/b.txt",
        "https://host.org/b.txt?token=canary",
        "https://host.org/b.txt?a=1&access_token=canary",
        "https://host.org/b.txt?X-Amz-Signature=canary",
        "https://host.org/b.txt?sig=canary",
        "https://host.org/b.txt?API-Key=canary",
        "https://host.org/b.txt?password=canary",
        "https://host.org/b.txt#canary",
        "https://host.org/a b/canary",
        "https://host.org:canary/b.txt",
        "https://[canary/b.txt",
        "file:///etc/canary",
        "ftp://host.org/canary.txt",
        "host.org/canary.txt",
        "https://host.org/canary/",
        "https://host.org",
        "https://host.org/canary/..",
        "https://host.org/..%2Fcanary",
        "https://host.org/.canary",
        "https://host.org/canary%00",
    ],
)
def test_urls_that_are_refused_are_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(ParamsError) as error:
        loaded(tmp_path, HTTP | {"url": url})
    assert "fetch.x.url: " in str(error.value)
    assert "canary" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host.org/a/b.jsonl.gz", "b.jsonl.gz"),
        ("http://127.0.0.1:80/b.txt?download=true&author=me&tokenizer=x", "b.txt"),
        ("https://host.org/a%20b.txt", "a b.txt"),
        ("https://host.org/données.txt", "données.txt"),
    ],
)
def test_urls_that_are_taken(url: str, name: str) -> None:
    check_url(url)
    assert file_name(url) == name


@given(st.text())
def test_a_file_name_stays_in_its_folder(end: str) -> None:
    try:
        name = file_name(f"https://host.org/a/{end}")
    except ValueError:
        return
    assert Path("folder", name).parent == Path("folder")
    assert Path("folder", name).resolve().parent == Path("folder").resolve()
    assert name not in ("", ".", "..")


def test_messages_show_neither_login_nor_query() -> None:
    assert display_url("https://me:canary@host.org:8080/a/b?x=canary#canary") == "https://host.org:8080/a/b?..."
    assert display_url("http://host.org/a") == "http://host.org/a"
