import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from forgeline.core.errors import DataError
from forgeline.core.records import EvalSample, documents_table, write_documents
from forgeline.text.curate import CurateParams, curate, read_sources
from forgeline.text.decontaminate import find_contaminated
from forgeline.text.dedup import find_copies
from forgeline.text.minhash import MinHashParams, near_copies, sign
from forgeline.text.shingles import hash_runs, hash_words, split_words
from forgeline.text.split import assign_split

MINHASH = MinHashParams(seed=17, num_permutations=112, num_bands=14, shingle_words=5, threshold=0.8)
CURATE = CurateParams(minhash=MINHASH, decontaminate_words=5, validation_fraction=0.2, test_fraction=0.2)
VOCABULARY = [f"w{number}" for number in range(500)]


def words(seed: int, count: int = 120) -> list[str]:
    return random.Random(seed).choices(VOCABULARY, k=count)


def jaccard(first: str, second: str, size: int = 5) -> float:
    def runs(text: str) -> set[tuple[str, ...]]:
        listed = split_words(text)
        return {tuple(listed[place : place + size]) for place in range(len(listed) - size + 1)}

    one, two = runs(first), runs(second)
    return len(one & two) / len(one | two)


@given(st.lists(st.text("abc ,\n", max_size=40), max_size=6), st.integers(1, 4))
def test_runs_are_those_of_a_plain_loop(texts: list[str], size: int) -> None:
    hashes, owners = hash_runs(hash_words(texts), size)
    plain = [
        (index, tuple(split_words(text)[place : place + size]))
        for index, text in enumerate(texts)
        for place in range(len(split_words(text)) - size + 1)
    ]
    assert owners.tolist() == [index for index, _ in plain]
    known: dict[tuple[str, ...], int] = {}
    for value, (_, run) in zip(hashes.tolist(), plain, strict=True):
        assert known.setdefault(run, value) == value
    assert len(set(known.values())) == len(known)


def test_signatures_estimate_the_jaccard_similarity_of_plain_sets() -> None:
    many = MINHASH.model_copy(update={"num_permutations": 2048, "num_bands": 1})
    base = words(1)
    for changed in (0, 4, 20, 60):
        other = [*base[: len(base) - changed], *words(2, changed)]
        texts = [" ".join(base), " ".join(other)]
        signatures, _ = sign(texts, many)
        estimate = float((signatures[0] == signatures[1]).mean())
        assert abs(estimate - jaccard(*texts)) < 0.045  # four standard errors


def test_planted_near_copies_are_found_and_distinct_documents_stay() -> None:
    originals = [words(seed) for seed in range(60)]
    copies = [[*original[:118], "changed"] for original in originals[:30]]
    texts = [" ".join(text) for text in originals + copies]
    assert near_copies(texts, MINHASH).tolist() == [*range(60), *range(30)]


def test_survivors_are_those_of_comparing_every_pair() -> None:
    generator = random.Random(3)
    texts = []
    for seed in range(40):
        text = words(seed)
        for _ in range(3):
            text = list(text)
            for _ in range(generator.choice([0, 1, 2, 40])):
                text[generator.randrange(len(text))] = generator.choice(VOCABULARY)
            texts.append(" ".join(text))
    survivors = {index for index, leader in enumerate(near_copies(texts, MINHASH).tolist()) if index == leader}
    clear = [(i, j) for i in range(len(texts)) for j in range(i) if not 0.7 < jaccard(texts[i], texts[j]) < 0.93]
    for i, j in clear:
        if jaccard(texts[i], texts[j]) >= 0.93:
            assert not (i in survivors and j in survivors)
    alone = [
        i for i in range(len(texts)) if all(jaccard(texts[i], texts[j]) < 0.6 for j in range(len(texts)) if i != j)
    ]
    assert alone
    assert set(alone) <= survivors


def test_texts_without_a_run_of_words_are_compared_exactly_only() -> None:
    texts = ["one two", "One  two", "one, two", "???", "!!!", ""]
    assert [(copy.index, copy.survivor, copy.reason) for copy in find_copies(texts, MINHASH)] == [
        (1, 0, "exact_duplicate")
    ]


def test_an_exact_copy_of_a_near_copy_names_the_survivor() -> None:
    base = words(1)
    near = " ".join([*base[:119], "changed"])
    copies = find_copies([" ".join(base), near, near.upper()], MINHASH)
    assert [(copy.index, copy.survivor, copy.reason) for copy in copies] == [
        (1, 0, "near_duplicate"),
        (2, 0, "exact_duplicate"),
    ]


def sample(prompt: str, *choices: str) -> EvalSample:
    return EvalSample.make("t", "k", [{"role": "user", "content": prompt}], choices[0] if choices else "", choices)


def test_contamination_is_a_shared_run_of_words_of_prompt_or_choice() -> None:
    first, second = sample("what is the colour of it"), sample("short", "a wrong one that is long", "and another one")
    texts = [
        "He asked: what is THE colour of\nthings?",
        "what is the red colour",
        "... a wrong, one; that is ...",
        "short",
    ]
    found = find_contaminated(texts, [first, second], 5)
    assert found == {0: first.sample_id, 2: second.sample_id}
    assert find_contaminated(["red, blue and"], [sample("x y", "Red blue and")], 5), "3 of 5 words, as a whole"
    assert not find_contaminated(["red, blue"], [sample("x y", "Red blue")], 5), "2 of 5 words are too few"
    assert find_contaminated(texts, [], 5) == {}
    assert find_contaminated([], [first], 5) == {}


@given(
    st.lists(st.text("ab ", max_size=30), max_size=8),
    st.lists(st.text("ab ", max_size=20), max_size=4),
    st.integers(1, 4),
)
def test_contamination_agrees_with_a_plain_search(texts: list[str], asked: list[str], size: int) -> None:
    def runs(text: str, length: int) -> set[tuple[str, ...]]:
        words = split_words(text)
        return {tuple(words[place : place + length]) for place in range(len(words) - length + 1)}

    def shares(text: str, other: str) -> bool:
        length = min(size, len(split_words(other)))  # a shorter text counts as a whole if at least half as long
        return length >= size / 2 and bool(runs(text, length) & runs(other, length))

    expected = [index for index, text in enumerate(texts) if any(shares(text, other) for other in asked)]
    assert list(find_contaminated(texts, [sample(text) for text in asked], size)) == expected


TEXTS = st.text("ab\n .", max_size=40) | st.sampled_from(
    ["one two three four five six", "One two  three four five six"]
)


@settings(max_examples=40)
@given(st.lists(TEXTS, max_size=10), st.lists(TEXTS, max_size=2))
def test_every_document_is_kept_or_dropped(texts: list[str], asked: list[str]) -> None:
    result = curate(documents_table(texts, "s"), [sample(text) for text in asked], CURATE)
    kept = [text for table in result.splits.values() for text in table["text"].to_pylist()]
    assert sorted(kept + result.dropped["text"].to_pylist()) == sorted(texts)
    assert result.counts.num_in == len(texts)
    assert len({" ".join(text.lower().split()) for text in kept}) == len(kept)


def test_near_copies_do_not_straddle_the_split() -> None:
    originals = [words(seed) for seed in range(50)]
    copies = [[*original[:119], "changed"] for original in originals]
    table = documents_table([" ".join(text) for text in originals + copies], "s")
    result = curate(table, [], CURATE)
    assert result.counts.dropped == {"near_duplicate": 50}
    assert result.dropped["detail"].to_pylist() == table["doc_id"].to_pylist()[:50]
    assert all(table.num_rows for table in result.splits.values())


@given(st.sets(st.text(max_size=8), max_size=30), st.integers(0, 2**31))
def test_the_split_of_a_record_does_not_depend_on_the_others(keys: set[str], seed: int) -> None:
    alone = {key: assign_split(key, seed, 0.2, 0.3) for key in keys}
    assert alone == {key: assign_split(key, seed, 0.2, 0.3) for key in sorted(keys)}
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


def test_sources_are_read_in_order_and_strangers_refused(tmp_path) -> None:
    for source in ("b", "a"):
        write_documents_of(tmp_path, source)
    assert read_sources(tmp_path, ["b", "a"])["source"].to_pylist() == ["b", "a"]
    with pytest.raises(DataError, match=r"/b belongs to no source of params\.yaml .*: delete the folder"):
        read_sources(tmp_path, ["a"])
    with pytest.raises(DataError, match=r"documents\.parquet does not exist"):
        read_sources(tmp_path, ["a", "b", "c"])


def write_documents_of(folder, source: str) -> pa.Table:
    table = documents_table([f"text of {source}"], source)
    write_documents(folder / source / "documents.parquet", table)
    return table


def test_cross_field_rules() -> None:
    with pytest.raises(ValidationError, match=r"num_permutations \(112\) must be a multiple of num_bands \(15\)"):
        MinHashParams(**{**MINHASH.model_dump(), "num_bands": 15})
    with pytest.raises(ValidationError, match="must be below 1"):
        CurateParams(minhash=MINHASH, decontaminate_words=5, validation_fraction=0.6, test_fraction=0.4)


def test_signatures_do_not_depend_on_the_other_documents() -> None:
    texts = [" ".join(words(seed)) for seed in range(3)]
    together, _ = sign(texts, MINHASH)
    alone = np.concatenate([sign([text], MINHASH)[0] for text in texts])
    assert (together == alone).all()
