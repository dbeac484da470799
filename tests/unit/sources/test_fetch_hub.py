import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from forgeline.core.errors import DataError
from forgeline.core.storage import sha256_path, write_jsonl
from forgeline.sources.fetch import fetch
from forgeline.sources.fetch_hub import fetch_hub, newest_commit
from forgeline.sources.fetch_params import HubParams, TokenEstimate

ROWS = {
    "train": [{"question": f"What is {i} and {i}?", "answer": f"{2 * i}", "level": i % 3} for i in range(2500)],
    "test": [{"question": "Why é?", "answer": "Because.", "level": 0}],
}
CARD = """\
---
configs:
  - {config_name: main, default: true, data_files: [{split: train, path: train.jsonl}, {split: test, path: test.jsonl}]}
  - {config_name: socratic, data_files: [{split: train, path: test.jsonl}]}
---
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A folder with two splits."""
    folder = tmp_path / "sums"
    for split, rows in ROWS.items():
        write_jsonl(folder / f"{split}.jsonl", rows)
    return folder


def params(folder: Path, **changes: Any) -> HubParams:
    values = {
        "kind": "hub",
        "dataset": str(folder),
        "subset": None,
        "split": "train",
        "revision": sha256_path(folder),
        "streaming": True,
        "max_documents": None,
        "max_tokens": None,
    }
    return HubParams(**{**values, **changes})


def message_of(parameters: HubParams, tmp_path: Path) -> str:
    with pytest.raises(DataError) as error:
        fetch_hub(parameters, tmp_path / "out", 4.0)
    assert not list((tmp_path / "out").glob("*"))
    return str(error.value)


@pytest.mark.parametrize("streaming", [True, False])
def test_a_split_becomes_parquet_with_all_its_columns(dataset: Path, tmp_path: Path, streaming: bool) -> None:
    assert fetch_hub(params(dataset, streaming=streaming), tmp_path / "out", 4.0) == 2500
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["00000.parquet"]
    assert pq.read_table(tmp_path / "out").to_pylist() == ROWS["train"]


def test_streaming_changes_nothing_but_how_much_is_read(dataset: Path, tmp_path: Path) -> None:
    for streaming in (True, False):
        fetch_hub(params(dataset, streaming=streaming, max_documents=1700), tmp_path / str(streaming), 4.0)
    assert sha256_path(tmp_path / "True") == sha256_path(tmp_path / "False")
    assert pq.read_table(tmp_path / "True").to_pylist() == ROWS["train"][:1700]


def test_a_cap_in_tokens_counts_the_text_of_all_columns(dataset: Path, tmp_path: Path) -> None:
    num_rows = fetch_hub(params(dataset, max_tokens=3000), tmp_path / "out", 4.0)
    sizes = [len(row["question"]) + len(row["answer"]) for row in ROWS["train"]]
    assert sum(sizes[: num_rows - 1]) < 12_000 <= sum(sizes[:num_rows])


def test_what_was_fetched_is_named(dataset: Path, tmp_path: Path) -> None:
    parameters = params(dataset, max_documents=5)
    result = fetch("fetch@sums", parameters, TokenEstimate(bytes_per_token=4.0), tmp_path / "out", tmp_path)
    shard = tmp_path / "out" / "00000.parquet"
    assert result.counts.as_json() == {"in": 5, "out": 5, "dropped": {}}
    assert result.figures == {
        "kind": "hub",
        "revision": parameters.revision,
        "num_files": 1,
        "num_bytes": shard.stat().st_size,
        "files": [{"name": "00000.parquet", "sha256": sha256_path(shard)}],
    }


def test_the_datasets_cache_is_not_needed_afterwards(dataset: Path, tmp_path: Path) -> None:
    fetch_hub(params(dataset, streaming=True), tmp_path / "out", 4.0)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]
    fetch_hub(params(dataset, streaming=False), tmp_path / "again", 4.0)
    assert not [path for path in (tmp_path / "again").rglob("*") if path.is_symlink()]


def test_subsets_of_the_card(dataset: Path, tmp_path: Path) -> None:
    (dataset / "README.md").write_text(CARD)
    assert fetch_hub(params(dataset), tmp_path / "main", 4.0) == 2500
    assert fetch_hub(params(dataset, subset="socratic"), tmp_path / "socratic", 4.0) == 1
    message = message_of(params(dataset, subset="sokratic"), tmp_path)
    assert "has no subset 'sokratic': choose one of main, socratic" in message
    assert "has no split 'test': choose one of train" in message_of(
        params(dataset, subset="socratic", split="test"), tmp_path
    )


def test_a_subset_has_to_be_named_where_there_are_several(dataset: Path, tmp_path: Path) -> None:
    (dataset / "README.md").write_text(CARD.replace(" default: true,", ""))
    assert "has several subsets: choose one of main, socratic" in message_of(params(dataset), tmp_path)


def test_a_folder_without_the_split(dataset: Path, tmp_path: Path) -> None:
    message = message_of(params(dataset, split="validation"), tmp_path)
    assert message == f"{dataset} has no split 'validation': choose one of train, test"


def test_a_folder_that_changed(dataset: Path, tmp_path: Path) -> None:
    pinned = params(dataset)
    write_jsonl(dataset / "train.jsonl", ROWS["test"])
    message = message_of(pinned, tmp_path)
    assert pinned.revision in message
    assert sha256_path(dataset) in message


def test_no_folder(dataset: Path, tmp_path: Path) -> None:
    assert "there is no folder" in message_of(params(dataset, dataset=str(tmp_path / "gone")), tmp_path)


def test_a_folder_without_data(tmp_path: Path) -> None:
    (tmp_path / "sums").mkdir()
    assert "holds no data files" in message_of(params(tmp_path / "sums"), tmp_path)


def test_a_split_without_rows(dataset: Path, tmp_path: Path) -> None:
    (dataset / "validation.jsonl").write_text("")
    assert "holds no rows" in message_of(params(dataset, split="validation"), tmp_path)


def test_a_damaged_file_is_one_message(dataset: Path, tmp_path: Path) -> None:
    (dataset / "train.jsonl").write_text('{"question": "a", "answer": "b", "level": 0}\n{"question": \n')
    message = message_of(params(dataset), tmp_path)
    assert message.startswith(f"cannot read {dataset}: ")
    assert "\n" not in message


def test_mixed_types_are_one_message(dataset: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"question": "a" * 1000, "answer": 1})] * 20_000 + ['{"question": "a", "answer": {"b": 1}}']
    (dataset / "train.jsonl").write_text("\n".join(lines))
    message = message_of(params(dataset), tmp_path)
    assert message.startswith(f"cannot read {dataset}: ")


@pytest.mark.parametrize("streaming", [True, False])
def test_the_hub_offline(tmp_path: Path, streaming: bool) -> None:
    """Tests run with HF_HUB_OFFLINE=1."""
    parameters = params(tmp_path, dataset="owner/sums", revision="0" * 40, streaming=streaming)
    message = message_of(parameters, tmp_path)
    assert message.startswith("cannot reach the hub for owner/sums: without a network, download the dataset where")


def test_the_newest_commit_offline() -> None:
    with pytest.raises(DataError, match="cannot reach the hub for owner/sums"):
        newest_commit("owner/sums")


def test_a_folder_is_not_taken_for_a_dataset_of_the_hub(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dataset.parent)
    assert "cannot reach the hub" in message_of(params(dataset, dataset=dataset.name, revision="0" * 40), tmp_path)
