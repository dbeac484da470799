from pathlib import Path

import pytest
from tests.conftest import shards_of

from forgeline.tokenization.report import report


def test_the_report_by_hand(byte_tokenizer, tmp_path: Path) -> None:
    shards = [*shards_of(tmp_path / "0", ["ab cd", "é"], "one"), *shards_of(tmp_path / "1", ["a"], "two")]
    found = report(byte_tokenizer, shards).as_json()
    # Every byte is a token: 5 + 2 in three words of `one`, 1 in one word of `two`; a, b, space, c, d and two of é.
    assert found == {
        "vocab_size": 260,
        "used_fraction": 7 / 260,
        "unknown_fraction": 0.0,
        "num_round_trip_failures": 0,
        "num_changed_by_normalization": 0,
        "bytes_per_token": 1.0,
        "tokens_per_word": 2.0,
        "usage": [  # a occurs twice, six others once
            {"at_least": 0, "num_entries": 253, "num_tokens": 0},
            {"at_least": 1, "num_entries": 7, "num_tokens": 8},
            {"at_least": 10, "num_entries": 0, "num_tokens": 0},
            {"at_least": 100, "num_entries": 0, "num_tokens": 0},
            {"at_least": 1000, "num_entries": 0, "num_tokens": 0},
        ],
        "sources": {
            "one": {
                "num_documents": 2,
                "num_tokens": 7,
                "bytes_per_token": 1.0,
                "tokens_per_word": pytest.approx(7 / 3),
                "unknown_fraction": 0.0,
            },
            "two": {
                "num_documents": 1,
                "num_tokens": 1,
                "bytes_per_token": 1.0,
                "tokens_per_word": 1.0,
                "unknown_fraction": 0.0,
            },
        },
    }
