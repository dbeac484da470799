"""Against a hub on this machine. In processes of their own: the libraries read their environment when imported."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.hub import Hub, serve_hub

from forgeline.core.storage import sha256_path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_canary"
ROW = '{"question": "%07d", "answer": "' + "y" * 1000 + '"}\n'

FETCH = """\
import json, sys
from pathlib import Path
from forgeline.core.errors import DataError
from forgeline.sources.fetch_hub import fetch_hub, newest_commit
from forgeline.sources.fetch_params import HubParams
values = json.loads(sys.argv[1])
values["revision"] = values["revision"] or newest_commit(values["dataset"])
try:
    print(fetch_hub(HubParams(**values), Path(sys.argv[2]), 4.0))
except DataError as error:
    print("forgeline:", error)
"""


def files(num_rows: int) -> dict[str, bytes]:
    """A dataset with so many training rows of about 1 kB, and three to test."""
    train = "".join(ROW % number for number in range(num_rows)).encode()
    return {"README.md": b"# Sums\n", "data/train.jsonl": train, "data/test.jsonl": train[: len(ROW % 0) * 3]}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve_hub("owner/sums", COMMIT, files(100), TOKEN) as running:
        yield running


def fetch(hub: Hub, out: Path, token: str | None = TOKEN, kept: dict[str, str] | None = None, **changes: object) -> str:
    """Everything that a fetch prints; `kept` is the environment of a token that is in a file, with `token` None."""
    values = {"kind": "hub", "dataset": "owner/sums", "subset": None, "split": "train", "revision": COMMIT}
    values |= {"streaming": True, "max_documents": 50, "max_tokens": None, **changes}
    inherited = {name: value for name, value in os.environ.items() if "TOKEN" not in name or not name.startswith("HF_")}
    environment = {
        **inherited,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(out.parent / "home"),
        "NO_PROXY": "*",
        "PYTHONPATH": "src",
        **({"HF_TOKEN": token} if token is not None else {}),
        **(kept or {}),
    }
    command = [sys.executable, "-c", FETCH, json.dumps(values), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    return (done.stdout + done.stderr).strip()


def test_the_first_rows(hub: Hub, tmp_path: Path) -> None:
    assert fetch(hub, tmp_path / "out") == "50"
    assert [int(row["question"]) for row in pq.read_table(tmp_path / "out").to_pylist()] == list(range(50))
    assert f"Bearer {TOKEN}" in hub.tokens


@pytest.mark.slow
def test_streaming_reads_no_more_than_a_cap_needs(tmp_path: Path) -> None:
    with serve_hub("owner/sums", COMMIT, files(90_000), TOKEN) as hub:
        assert fetch(hub, tmp_path / "out") == "50"
    assert hub.num_bytes_sent < len(hub.files["data/train.jsonl"]) / 2


@pytest.mark.slow
def test_downloading_first_gives_the_same_bytes_and_a_cache_only_that_version(hub: Hub, tmp_path: Path) -> None:
    assert fetch(hub, tmp_path / "streamed", split="test") == "3"
    assert fetch(hub, tmp_path / "whole", split="test", streaming=False, revision=None) == "3"
    assert sha256_path(tmp_path / "streamed") == sha256_path(tmp_path / "whole")
    hub.token = "another"
    refused = fetch(hub, tmp_path / "again", split="test", streaming=False)
    assert "is not on the hub, or private" in refused, "no version is taken from the cache"


def test_a_refusal_that_repeats_the_token_does_not_bring_it_out(hub: Hub, tmp_path: Path) -> None:
    printed = fetch(hub, tmp_path / "out", token="hf_other_canary")
    assert f"Bearer {'hf_other_canary'}" in hub.tokens
    assert printed.startswith("forgeline: owner/sums is not on the hub, or private or gated")
    assert "canary" not in printed


@pytest.mark.parametrize(("place", "token"), [("HF_HOME", TOKEN), ("HF_TOKEN_PATH", "hf_other_canary")])
def test_the_token_of_a_login_is_used_and_appears_nowhere(hub: Hub, tmp_path: Path, place: str, token: str) -> None:
    """`hf auth login` writes the token into a file: no variable holds it."""
    file = tmp_path / "login" / "token"
    file.parent.mkdir()
    file.write_text(f"{token}\n")
    kept = {place: str(file.parent if place == "HF_HOME" else file)}
    printed = fetch(hub, tmp_path / "out", token=None, kept=kept)
    assert f"Bearer {token}" in hub.tokens
    assert printed.startswith(
        "50" if token == TOKEN else "forgeline: owner/sums is not on the hub, or private or gated"
    )
    assert "canary" not in printed
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path != file]
    assert not [path for path in written if b"canary" in path.read_bytes()]
    assert bool(list((tmp_path / "out").glob("*.parquet"))) == (token == TOKEN)


def test_a_commit_that_is_not_there(hub: Hub, tmp_path: Path) -> None:
    assert "owner/sums has no such commit on the hub" in fetch(hub, tmp_path / "out", revision="f" * 40)


def test_a_hub_that_is_gone(tmp_path: Path) -> None:
    with serve_hub("owner/sums", COMMIT, files(1), TOKEN) as running:
        pass
    assert fetch(running, tmp_path / "out").startswith("forgeline: cannot reach the hub for owner/sums")
