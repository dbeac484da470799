"""fetch: remote data arrive once, whole and pinned; a kill costs nothing; a token is seen by the hub alone."""

import hashlib
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.clone import Clone
from tests.hub import serve_hub
from tests.web import Page, Site, serve

pytestmark = pytest.mark.slow

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CANARY = f"hf_{secrets.token_hex(16)}"  # made anew, so that not even this file holds it
BODY = random.Random(5).randbytes(8_000_000)


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    made = Clone.make(tmp_path / "forgeline")
    made.dvc("init", "--force", "--quiet")
    return made


@pytest.fixture
def site() -> Iterator[Site]:
    with serve({"/corpus.jsonl": Page(BODY)}) as running:
        yield running


def add_corpus(clone: Clone, site: Site, body: bytes = BODY) -> None:
    pinned = hashlib.sha256(body).hexdigest()
    clone.forgeline("source", "add", "corpus", f"{site.url}/corpus.jsonl", "--sha256", pinned)


def left_behind(clone: Clone) -> list[str]:
    """Files of a fetch that are neither its output nor waiting in its scratch folder."""
    return [path.name for path in (clone.root / "data").rglob("*") if path.is_file() or ".partial" in path.name]


def test_what_was_fetched_needs_the_network_once(clone: Clone, site: Site, tmp_path: Path) -> None:
    add_corpus(clone, site)
    clone.dvc("repro", "fetch@corpus")
    assert (clone.root / "data/fetch/corpus/corpus.jsonl").read_bytes() == BODY
    assert clone.metrics("fetch/corpus") == {
        "records": {"in": 1, "out": 1, "dropped": {}},
        "kind": "http",
        "revision": hashlib.sha256(BODY).hexdigest(),
        "num_files": 1,
        "num_bytes": len(BODY),
        "files": [{"name": "corpus.jsonl", "sha256": hashlib.sha256(BODY).hexdigest()}],
    }
    clone.dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    clone.dvc("push", "fetch@corpus")
    clone.commit("fetched")
    elsewhere = Clone(tmp_path / "elsewhere")
    clone.run("git", "clone", "--quiet", ".", str(elsewhere.root))
    elsewhere.dvc("pull", "fetch@corpus")
    assert "Stage 'fetch@corpus' didn't change" in elsewhere.dvc("repro", "fetch@corpus").stdout
    assert (elsewhere.root / "data/fetch/corpus/corpus.jsonl").read_bytes() == BODY
    assert len(site.requests) == 1

    code = elsewhere.root / "src/forgeline/core/errors.py"
    code.write_text(code.read_text() + "# an update\n")
    elsewhere.set_params(fetch__corpus__url="https://mirror.invalid/corpus.jsonl")
    elsewhere.dvc("repro", "fetch@corpus")
    assert (elsewhere.root / "data/fetch/corpus/corpus.jsonl").read_bytes() == BODY


def test_other_bytes_leave_nothing_behind(clone: Clone, site: Site) -> None:
    add_corpus(clone, site, b"something else")
    done = clone.dvc("repro", "fetch@corpus", check=False)
    assert done.returncode != 0
    assert "but params.yaml pins" in done.stderr
    assert "Traceback" not in done.stderr
    assert left_behind(clone) == []
    assert [path for path in (clone.root / ".dvc/tmp/scratch").rglob("*") if path.is_file()] == []
    assert not (clone.root / "metrics/fetch").is_dir() or not list((clone.root / "metrics/fetch").iterdir())


def test_a_killed_download_is_resumed(clone: Clone, site: Site) -> None:
    add_corpus(clone, site)
    site.pages["/corpus.jsonl"].hold_after = 5_000_000
    command = [sys.executable, "-m", "dvc", "repro", "fetch@corpus"]
    process = subprocess.Popen(command, cwd=clone.root, env=clone.environment(), start_new_session=True)
    partials = (clone.root / ".dvc/tmp/scratch").glob
    for _ in range(600):
        if sum(path.stat().st_size for path in partials("fetch-corpus-*/partial")) > 4_000_000:
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    [partial] = partials("fetch-corpus-*/partial")
    have = partial.stat().st_size
    assert have > 4_000_000
    assert left_behind(clone) == []

    site.pages["/corpus.jsonl"].hold_after = None
    clone.forgeline("repro", "fetch@corpus")
    assert (clone.root / "data/fetch/corpus/corpus.jsonl").read_bytes() == BODY
    assert [headers.get("Range") for _, headers in site.requests] == [None, f"bytes={have}-"]
    assert not list(partials("*"))


def test_a_token_is_seen_by_the_hub_alone(clone: Clone, tmp_path: Path) -> None:
    """Added, fetched, refused, mirrored into MLflow: the token is in no file and in nothing that was printed."""
    rows = b"".join(json.dumps({"text": f"Sentence {number} of the corpus."}).encode() + b"\n" for number in range(300))
    printed = []
    with serve_hub("owner/private", COMMIT, {"README.md": b"# Private\n", "train.jsonl": rows}, CANARY) as hub:
        access = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(clone.root / "home"), "NO_PROXY": "*"}

        def run(*command: str, token: str = CANARY) -> int:
            done = clone.run(*command, check=False, HF_TOKEN=token, **access)
            printed.append(done.stdout + done.stderr)
            return done.returncode

        forgeline = (sys.executable, "-m", "forgeline.cli")
        assert run(*forgeline, "source", "add", "private", "owner/private | | train |") == 0, printed
        assert run(*forgeline, "repro", "fetch@private") == 0, printed
        assert pq.read_table(clone.root / "data/fetch/private").num_rows == 300
        assert clone.lock()["fetch@private"]["params"]["params.yaml"]["fetch.private"]["revision"] == COMMIT
        assert hub.tokens.count(f"Bearer {CANARY}") > 2
        assert run(*forgeline, "source", "add", "refused", "owner/private | | train |", token=f"{CANARY}x") == 1
        assert "private or gated and your login may not read it" in printed[-1]
        clone.set_params(fetch__private__max_documents=7)
        assert run("dvc", "repro", "fetch@private", token=f"{CANARY}x") != 0
        assert "private or gated and your login may not read it" in printed[-1]
        assert f"Bearer {CANARY}x" in hub.tokens
    clone.commit("fetched")
    assert run(*forgeline, "sync") == 0, printed
    assert (clone.root / "mlflow.db").is_file()
    assert CANARY not in "".join(printed)
    files = [path for path in clone.root.rglob("*") if path.is_file()]
    assert [str(path) for path in files if CANARY.encode() in path.read_bytes()] == []
    assert {"dvc.lock", "mlflow.db"} <= {path.name for path in files}


def test_a_source_in_short_form_is_explained(clone: Clone) -> None:
    clone.set_params(ingest__sources__squad="squad | | train | 1")
    for command in (("check",), ("repro",)):
        done = clone.forgeline(*command, check=False)
        assert done.returncode == 1
        assert "ingest.sources.squad is a text" in done.stderr
        assert '`forgeline source add squad "dataset | subset | split | weight"`' in done.stderr
