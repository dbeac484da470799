from pathlib import Path
from typing import Any

import pytest

from tests.clone import Clone

pytestmark = pytest.mark.slow

# They hold measured times, or are made from files that do.
OUTSIDE_THE_PROMISE = ("benchmark", "report", "register")


def promised(clone: Clone) -> dict[str, Any]:
    return {
        address: record
        for address, record in clone.lock().items()
        if address.partition("@")[0] not in OUTSIDE_THE_PROMISE
    }


def test_two_fresh_clones_agree_on_every_hash(smoke: Clone, tmp_path: Path) -> None:
    second = Clone.make(tmp_path / "a folder of another name")
    second.forgeline("repro", "--no-run-cache", timeout=900)
    first, again = promised(smoke), promised(second)
    assert len(first) > 20
    assert set(again) == set(first)
    assert [address for address in first if again[address] != first[address]] == []
