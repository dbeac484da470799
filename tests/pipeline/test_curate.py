"""curate: one copy of each document, none with a run of words of a held-out question, split by hash."""

import hashlib
import json
import re
from collections import Counter

import pytest

from tests.clone import Clone
from tests.pipeline.outputs import SPLITS, params, rows

pytestmark = pytest.mark.slow


def words_of(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.lower()))


def shared(text: str, other: str, size: int) -> bool:
    """Whether `text` holds a run of `size` words of `other`, or all of it if it has at least half as many."""
    ours, theirs = words_of(text), words_of(other)
    size = min(size, len(theirs)) if 2 * len(theirs) >= size else size
    runs = {ours[start : start + size] for start in range(len(ours) - size + 1)}
    return any(theirs[start : start + size] in runs for start in range(len(theirs) - size + 1))


def evaluation_texts(smoke: Clone) -> dict[str, list[str]]:
    """The texts of each question and of each preference pair, by its id."""
    texts = {
        row["sample_id"]: [*(turn["content"] for turn in row["prompt"]), *row["choices"], row["reference"]]
        for row in rows(smoke, "data/instructions/test.parquet")
    }
    for row in rows(smoke, "data/preferences/test.parquet"):
        texts[row["pair_id"]] = [*(turn["content"] for turn in row["prompt"]), row["chosen"], row["rejected"]]
    return texts


def test_no_kept_document_shares_a_run_of_words_with_an_evaluation_text(smoke: Clone) -> None:
    size = params(smoke)["curate"]["decontaminate_words"]
    asked = {words_of(text) for texts in evaluation_texts(smoke).values() for text in texts}
    by_size: dict[int, set[tuple[str, ...]]] = {}
    for words in asked:
        if 2 * len(words) >= size:
            length = min(size, len(words))
            runs = {words[start : start + length] for start in range(len(words) - length + 1)}
            by_size.setdefault(length, set()).update(runs)
    assert len(by_size[size]) > 100
    for split in SPLITS:
        for row in rows(smoke, f"data/curate/{split}.parquet"):
            words = words_of(row["text"])
            for length, runs in by_size.items():
                found = {words[start : start + length] for start in range(len(words) - length + 1)} & runs
                assert not found, row["text"]


def test_contaminated_documents_name_a_question_or_pair_that_they_share_words_with(smoke: Clone) -> None:
    size = params(smoke)["curate"]["decontaminate_words"]
    asked = evaluation_texts(smoke)
    dropped = [row for row in rows(smoke, "data/curate/dropped.parquet") if row["reason"] == "contaminated"]
    assert dropped
    for row in dropped:
        assert any(shared(row["text"], text, size) for text in asked[row["detail"]]), row["text"]


def test_no_two_documents_have_the_same_words(smoke: Clone) -> None:
    texts = [
        " ".join(row["text"].lower().split()) for split in SPLITS for row in rows(smoke, f"data/curate/{split}.parquet")
    ]
    assert len(set(texts)) == len(texts)


def test_the_split_is_a_function_of_the_id(smoke: Clone) -> None:
    rules = params(smoke)["curate"]
    seed, test, validation = rules["minhash"]["seed"], rules["test_fraction"], rules["validation_fraction"]
    for split in SPLITS:
        for row in rows(smoke, f"data/curate/{split}.parquet"):
            place = int(hashlib.sha256(f"{seed}:{row['doc_id']}".encode()).hexdigest()[:13], 16) / 16**13
            expected = "test" if place < test else "validation" if place < test + validation else "train"
            assert split == expected


def test_splits_have_about_the_asked_sizes(smoke: Clone) -> None:
    rules = params(smoke)["curate"]
    sizes = {split: len(rows(smoke, f"data/curate/{split}.parquet")) for split in SPLITS}
    total = sum(sizes.values())
    for split in ("validation", "test"):
        share = rules[f"{split}_fraction"]
        assert abs(sizes[split] / total - share) < 4 * (share / total) ** 0.5


def test_both_sources_are_in_every_split(smoke: Clone) -> None:
    for split in SPLITS:
        found = {row["source"] for row in rows(smoke, f"data/curate/{split}.parquet")}
        assert found == {"hpo_terms", "hpo_diseases"}


def test_the_table_of_copies_names_every_copy_and_its_survivor(smoke: Clone) -> None:
    """The smoke preset may have none; unit tests have many."""
    dropped = [row for row in rows(smoke, "data/curate/dropped.parquet") if row["reason"].endswith("_duplicate")]
    members = rows(smoke, "data/curate/clusters.parquet")
    copies = [row for row in members if row["kind"] != "survivor"]
    assert Counter((row["doc_id"], row["cluster_id"], f"{row['kind']}_duplicate") for row in copies) == Counter(
        (row["doc_id"], row["detail"], row["reason"]) for row in dropped
    )
    survivors = [row["doc_id"] for row in members if row["kind"] == "survivor"]
    assert sorted(survivors) == sorted({row["cluster_id"] for row in members})
    assert all(0.0 < row["similarity"] <= 1.0 for row in members)


def test_the_manifest_has_the_hash_of_every_shard(smoke: Clone) -> None:
    folder = smoke.root / "data" / "curate"
    manifest = json.loads((folder / "manifest.json").read_text())
    listed = {entry["file"]: entry["sha256"] for shards in manifest["shards"].values() for entry in shards}
    shards = [shard for name in (*SPLITS, "dropped") for shard in (folder / f"{name}.parquet").iterdir()]
    assert listed == {
        shard.relative_to(folder).as_posix(): hashlib.sha256(shard.read_bytes()).hexdigest() for shard in shards
    }
