"""The whole stage on small corpora: accounting, survivors, splits, side tables, and bytes that depend on data alone."""

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from forgeline.core.errors import DataError
from forgeline.core.records import (
    DOCUMENTS,
    EvalSample,
    PreferencePair,
    document_id,
    documents_table,
    write_documents,
    write_records,
)
from forgeline.core.shards import ShardWriter
from forgeline.core.storage import sha256_path
from forgeline.text.cluster_table import cluster_figures
from forgeline.text.curate import CurateOutputs, CurateParams, CurateResult, curate, source_shards
from forgeline.text.evaluation_texts import EvaluationSet, EvaluationText, count_too_short, pair_texts, question_texts
from forgeline.text.minhash import MinHashParams
from forgeline.text.split import SPLITS, assign_split, assign_splits

MINHASH = MinHashParams(
    enabled=True, seed=17, num_permutations=112, num_bands=14, shingle_unit="words", shingle_size=5, threshold=0.8
)
CURATE = CurateParams(
    memory_megabytes=64,
    exact=True,
    minhash=MINHASH,
    decontaminate_words=5,
    validation_fraction=0.2,
    test_fraction=0.2,
)
FOLDERS = (*SPLITS, "dropped")
VOCABULARY = [f"w{number}" for number in range(500)]


def words(seed: int, count: int = 120) -> list[str]:
    return random.Random(seed).choices(VOCABULARY, k=count)


def asked(*texts: str, name: str = "instructions") -> EvaluationSet:
    entries = [EvaluationText(text, f"sample {number}", f"task {number % 2}") for number, text in enumerate(texts)]
    return EvaluationSet(name, Path(f"data/{name}/test.parquet"), entries)


class Run:
    """One run of the stage: sources of shards in, tables and figures out."""

    def __init__(
        self,
        root: Path,
        sources: dict[str, Sequence[Sequence[str]]],
        evaluations: Sequence[EvaluationSet] = (),
        params: CurateParams = CURATE,
    ) -> None:
        for source, shards in sources.items():
            for number, texts in enumerate(shards):
                path = root / "clean" / source / "documents.parquet" / f"{number:05d}.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(documents_table(texts, source), path)
        self.out = root / "out"
        outputs = CurateOutputs(
            folders={name: self.out / name for name in FOLDERS},
            names={name: name for name in FOLDERS},
            clusters=self.out / "clusters",
            manifest=self.out / "manifest.json",
        )
        self.scratch = root / "scratch"
        shards = source_shards(root / "clean", list(sources))
        self.result: CurateResult = curate(shards, evaluations, params, outputs, self.scratch)

    def rows(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = pq.read_table(self.out / name).to_pylist()
        return found

    def kept(self) -> list[str]:
        return [row["text"] for split in SPLITS for row in self.rows(split)]


TEXTS = st.text("ab\n .", max_size=40) | st.sampled_from(
    ["one two three four five six", "One two  three four five six", "one two three four five six seven"]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(TEXTS, max_size=5), min_size=1, max_size=3), st.lists(TEXTS, max_size=2), st.booleans())
def test_every_document_is_kept_or_dropped_for_a_reason(tmp_path_factory, shards, evaluation, exact) -> None:
    texts = ["a document of its own", *(text for shard in shards for text in shard)]
    params = CURATE.model_copy(update={"exact": exact})
    try:
        run = Run(tmp_path_factory.mktemp("run"), {"s": [texts[:1], *shards]}, [asked(*evaluation)], params)
    except DataError:
        assert evaluation
        num_words = [len(re.findall(r"\w+", text)) for text in evaluation]
        assert max(num_words) < 3, "refused though texts are long enough to be found"
        return
    dropped = run.rows("dropped")
    assert sorted(run.kept() + [row["text"] for row in dropped]) == sorted(texts)
    assert run.result.counts.num_in == len(texts)
    assert run.result.counts.dropped == Counter(row["reason"] for row in dropped)
    if exact:
        assert len({" ".join(text.lower().split()) for text in run.kept()}) == len(run.kept())
    ids = {document_id(text) for text in texts}
    for row in dropped:
        assert row["detail"] in (ids if row["reason"].endswith("duplicate") else {"sample 0", "sample 1"})


def test_the_first_of_a_cluster_survives_in_the_order_of_sources_and_rows(tmp_path: Path) -> None:
    base = words(1)
    near = " ".join([*base[:119], "changed"])
    text = " ".join(base)
    sources = {"b": [["other one"], [near]], "a": [[text, near.upper()], [text.replace(" ", "\n")]]}
    run = Run(tmp_path, sources)
    assert [(row["source"], row["text"], row["reason"], row["detail"]) for row in run.rows("dropped")] == [
        ("a", text, "near_duplicate", document_id(near)),
        ("a", near.upper(), "exact_duplicate", document_id(near)),
        ("a", text.replace(" ", "\n"), "exact_duplicate", document_id(near)),
    ]
    similarity = [row["similarity"] for row in run.rows("clusters")]
    assert similarity == [1.0, similarity[1], 1.0, similarity[1]]
    assert 0.8 <= similarity[1] < 1.0
    assert [(row["cluster_id"], row["doc_id"], row["source"], row["kind"]) for row in run.rows("clusters")] == [
        (document_id(near), document_id(near), "b", "survivor"),
        (document_id(near), document_id(text), "a", "near"),
        (document_id(near), document_id(near.upper()), "a", "exact"),
        (document_id(near), document_id(text.replace(" ", "\n")), "a", "exact"),
    ]
    assert run.result.figures["copies"] == {
        "num_clusters": 1,
        "num_copies": 3,
        "largest": 4,
        "sizes": [{"smallest": 3, "largest": 4, "num_clusters": 1}],
        "num_compared": 1,
    }
    assert run.result.figures["dropped_by_source"] == {"b": {}, "a": {"exact_duplicate": 2, "near_duplicate": 1}}


def test_texts_without_a_run_of_words_are_compared_exactly_only(tmp_path: Path) -> None:
    texts = ["one two", "One  two", "one, two", "???", "!!!", ""]
    run = Run(tmp_path, {"s": [texts]})
    assert [(row["text"], row["reason"]) for row in run.rows("dropped")] == [("One  two", "exact_duplicate")]


def test_chinese_near_copies_and_evaluation_texts_are_found(tmp_path: Path) -> None:
    rng = random.Random(2)
    characters = [chr(0x4E00 + number) for number in range(2000)]
    originals = ["".join(rng.choices(characters, k=300)) for _ in range(20)]
    copies = [text[:150] + "改" + text[151:] for text in originals[:10]]
    for unit in ("words", "characters"):
        minhash = MINHASH.model_copy(update={"shingle_unit": unit})
        params = CURATE.model_copy(update={"minhash": minhash, "decontaminate_words": 13})
        run = Run(tmp_path / unit, {"s": [originals, copies]}, [asked(f"问题、{originals[15][100:120]}。")], params)
        assert run.result.counts.dropped == {"near_duplicate": 10, "contaminated": 1}
        assert {row["text"] for row in run.rows("dropped")} == {*copies, originals[15]}


def test_contaminated_documents_name_a_sample_and_are_counted_by_task(tmp_path: Path) -> None:
    texts = ["He asked: what is THE colour of things?", "nothing here", "and the second, long question is this one"]
    sets = [asked("what is the colour of it"), asked("no", "the second long question is", name="preferences")]
    run = Run(tmp_path, {"s": [texts]}, sets)
    assert [(row["text"], row["detail"]) for row in run.rows("dropped")] == [
        (texts[0], "sample 0"),
        (texts[2], "sample 1"),
    ]
    assert run.result.figures["contaminated"] == {
        "instructions": {"task 0": 1},
        "preferences": {"task 0": 0, "task 1": 1},
    }


def test_evaluation_sets_are_read_with_all_their_texts(tmp_path: Path) -> None:
    prompt = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    question = EvalSample.make("task", "key", prompt, "c", ["c", "d"])
    pair = PreferencePair.make("set", "other", "key", prompt, "e", "f")
    write_records(tmp_path / "instructions" / "test.parquet", EvalSample, [question])
    write_records(tmp_path / "preferences" / "test.parquet", PreferencePair, [pair])
    questions = question_texts(tmp_path / "instructions" / "test.parquet")
    pairs = pair_texts(tmp_path / "preferences" / "test.parquet")
    assert questions.name == "instructions"
    assert [entry.text for entry in questions.texts] == ["a", "b", "c", "d", "c"]
    assert {(entry.sample_id, entry.task) for entry in questions.texts} == {(question.sample_id, "task")}
    assert [(entry.text, entry.sample_id, entry.task) for entry in pairs.texts] == [
        (text, pair.pair_id, "other") for text in "abef"
    ]


def planted(seed: int) -> list[str]:
    """Documents of 20 to 400 words, half of them with a near copy elsewhere, some with an exact one."""
    rng = random.Random(seed)
    originals = [words(1000 * seed + number, rng.randint(20, 400)) for number in range(150)]
    copies = []
    for original in rng.sample(originals, 75):
        copy = list(original)
        copy[rng.randrange(len(copy))] = "changed"
        copies += [copy, original] if rng.random() < 0.3 else [copy]
    texts = [" ".join(text) for text in originals + copies]
    rng.shuffle(texts)
    return texts


@pytest.mark.parametrize(
    ("memory_megabytes", "workers"), [(64, "2"), (1, "1"), (1, "3")], ids=["2 workers", "disk", "disk, 3 workers"]
)
def test_bytes_do_not_depend_on_memory_or_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_megabytes: int, workers: str
) -> None:
    texts = [text for seed in range(8) for text in planted(seed)]
    sources = {"b": [texts[:700], texts[700:701], []], "a": [texts[701:1000], texts[1000:]]}
    evaluation = [asked("no such words in any document", " ".join(words(3007, 20)[4:12]))]
    monkeypatch.setenv("FORGELINE_WORKERS", "1")
    inside = Run(tmp_path / "inside", sources, evaluation)
    monkeypatch.setenv("FORGELINE_WORKERS", workers)
    params = CURATE.model_copy(update={"memory_megabytes": memory_megabytes})
    other = Run(tmp_path / "other", sources, evaluation, params)
    assert sha256_path(inside.out) == sha256_path(other.out)
    assert inside.result == other.result
    assert inside.result.counts.dropped["near_duplicate"] > 400
    assert list(other.scratch.iterdir()) == []


def test_one_megabyte_is_too_little_for_that_corpus() -> None:
    """So that the test above does use the disk."""
    from forgeline.text.dedup import bytes_per_document

    num_documents = sum(len(planted(seed)) for seed in range(8))
    assert num_documents * bytes_per_document(True, MINHASH) > 1_000_000


def test_near_copies_do_not_straddle_the_split(tmp_path: Path) -> None:
    originals = [words(seed) for seed in range(50)]
    copies = [[*original[:119], "changed"] for original in originals]
    run = Run(tmp_path, {"s": [[" ".join(text) for text in originals], [" ".join(text) for text in copies]]})
    assert run.result.counts.dropped == {"near_duplicate": 50}
    assert [row["detail"] for row in run.rows("dropped")] == [document_id(" ".join(text)) for text in originals]
    assert all(run.rows(split) for split in SPLITS)


def test_the_manifest_and_the_figures_describe_what_was_written(tmp_path: Path) -> None:
    texts = planted(1)
    run = Run(tmp_path, {"b": [texts[:100], texts[100:150]], "a": [texts[150:]]})
    manifest = json.loads((run.out / "manifest.json").read_text())
    assert manifest["sources"] == {
        "a": {"num_documents": len(texts) - 150, "num_shards": 1},
        "b": {"num_documents": 150, "num_shards": 2},
    }
    assert manifest["params"] == {key: value for key, value in CURATE.model_dump().items() if key != "memory_megabytes"}
    for name in FOLDERS:
        assert [entry["file"] for entry in manifest["shards"][name]] == [f"{name}/{n:05d}.parquet" for n in range(3)]
        assert [entry["source"] for entry in manifest["shards"][name]] == ["b", "b", "a"]
        for entry in manifest["shards"][name]:
            file = run.out / entry["file"]
            rows = pq.read_table(file).to_pylist()
            assert hashlib.sha256(file.read_bytes()).hexdigest() == entry["sha256"]
            assert file.stat().st_size == entry["file_bytes"]
            assert (len(rows), sum(len(row["text"].encode()) for row in rows)) == (
                entry["num_documents"],
                entry["num_bytes"],
            )
    figures = run.result.figures
    for split in SPLITS:
        rows = run.rows(split)
        assert figures[split]["num_documents"] == len(rows)
        assert figures[split]["num_characters"] == sum(len(row["text"]) for row in rows)
        for source in ("a", "b"):
            own = [row for row in rows if row["source"] == source]
            assert figures["sources"][split][source]["num_documents"] == len(own)
            assert figures["sources"][split][source]["num_bytes"] == sum(len(row["text"].encode()) for row in own)


def test_cluster_sizes_are_counted_in_powers_of_two() -> None:
    import numpy as np

    sizes = [1, 2, 2, 3, 4, 5, 8, 9]
    firsts = np.concatenate([np.full(size, start) for size, start in zip(sizes, np.cumsum([0, *sizes]), strict=False)])
    assert cluster_figures(firsts) == {
        "num_clusters": 7,
        "num_copies": sum(sizes) - 8,
        "largest": 9,
        "sizes": [
            {"smallest": 2, "largest": 2, "num_clusters": 2},
            {"smallest": 3, "largest": 4, "num_clusters": 2},
            {"smallest": 5, "largest": 8, "num_clusters": 2},
            {"smallest": 9, "largest": 16, "num_clusters": 1},
        ],
    }
    assert cluster_figures(np.arange(3)) == {"num_clusters": 0, "num_copies": 0, "largest": 0, "sizes": []}


@given(st.sets(st.text(max_size=8), max_size=30), st.integers(0, 2**31))
def test_the_split_of_a_record_does_not_depend_on_the_others(keys: set[str], seed: int) -> None:
    alone = {key: assign_split(key, seed, 0.2, 0.3) for key in keys}
    assert alone == {key: assign_split(key, seed, 0.2, 0.3) for key in sorted(keys)}
    assert [SPLITS[place] for place in assign_splits(list(keys), seed, 0.2, 0.3)] == list(alone.values())
    for key in keys:
        if alone[key] == "test":
            assert assign_split(key, seed, 0.1, 0.4) == "test"


def test_splits_have_the_asked_for_shares() -> None:
    found = [assign_split(f"key{number}", 17, 0.05, 0.1) for number in range(20_000)]
    assert found.count("test") == pytest.approx(2000, abs=170)
    assert found.count("validation") == pytest.approx(1000, abs=125)
    assert {assign_split(f"key{number}", 17, 0.0, 0.0) for number in range(100)} == {"train"}
    # Written down: a change of the hash would move every user's held-out records.
    assert "".join(assign_split(f"key{number}", 17, 0.3, 0.3)[0] for number in range(10)) == PINNED


PINNED = "ttttvttvvt"


def test_sources_are_read_in_order_and_strangers_refused(tmp_path: Path) -> None:
    for source in ("b", "a"):
        write_documents(tmp_path / source / "documents.parquet", documents_table([f"text of {source}"], source))
    assert [(shard.source, shard.num_documents) for shard in source_shards(tmp_path, ["b", "a"])] == [
        ("b", 1),
        ("a", 1),
    ]
    with pytest.raises(DataError, match=r"/b belongs to no source of params\.yaml .*: delete the folder"):
        source_shards(tmp_path, ["a"])
    with pytest.raises(DataError, match=r"documents\.parquet does not exist"):
        source_shards(tmp_path, ["a", "b", "c"])


def test_a_damaged_shard_is_named_whether_its_footer_or_its_pages_are_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "clean" / "s" / "documents.parquet"
    with ShardWriter(folder, DOCUMENTS, 1000) as writer:
        writer.write(documents_table(planted(1), "s"))
    shard = folder / "00002.parquet"
    content = shard.read_bytes()
    for damaged in (content[:100] + bytes(300) + content[400:], content[:-20]):
        shard.write_bytes(damaged)
        with pytest.raises(DataError, match=r"00002\.parquet is not a readable Parquet file .*: delete it and run"):
            Run(tmp_path, {"s": []})


def test_an_evaluation_set_that_is_too_short_to_be_found_names_the_knob(tmp_path: Path) -> None:
    message = (
        r"data/arithmetic/test\.parquet: no text has more than 3 words.* runs of 13 words .* whole texts of 7 or more; "
        r"lower curate\.decontaminate_words to 6 or less"
    )
    with pytest.raises(DataError, match=message):
        count_too_short([asked("2 + 2", "what is it", name="arithmetic")], 13)
    count_too_short([asked("2 + 2", "what is it"), asked()], 6)


def test_nothing_left_names_the_reasons_and_the_knob(tmp_path: Path) -> None:
    text = "one two three four five"
    message = r"no document is left of 2 \(1 exact_duplicate, 1 contaminated\): raise curate\.decontaminate_words"
    with pytest.raises(DataError, match=message):
        Run(tmp_path / "a", {"s": [[text, f"{text} "]]}, [asked(text)])
    with pytest.raises(DataError, match="the cleaned sources hold no document: loosen the rules of `clean`"):
        Run(tmp_path / "b", {"s": [[]]})
    assert not (tmp_path / "a" / "out" / "train").exists()


def test_cross_field_rules() -> None:
    with pytest.raises(ValidationError, match="must be below 1"):
        CurateParams(**{**CURATE.model_dump(), "validation_fraction": 0.6, "test_fraction": 0.4})
