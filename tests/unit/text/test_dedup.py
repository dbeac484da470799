"""Linking of candidates against comparing all pairs, in memory and in files."""

import random
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.text.plain_twins import firsts_of

from forgeline.text.dedup import Clusters, CopyFinder, bytes_per_document
from forgeline.text.kernels.linking import MAX_REPRESENTATIVES, link_buckets, point_to_roots, sort_pairs
from forgeline.text.minhash import MinHashParams, hash_bands

PARAMS = MinHashParams(
    enabled=True, seed=17, num_permutations=8, num_bands=4, shingle_unit="words", shingle_size=5, threshold=0.5
)
UNUSED = Path("unused")  # nothing is written as long as all fits the memory
DEFAULT = PARAMS.model_copy(update={"num_permutations": 112, "num_bands": 14, "threshold": 0.8})


def ids_of(count: int, start: int = 0) -> np.ndarray:
    return np.array([f"{number:032x}" for number in range(start, start + count)], "S32")


def clusters_of(
    signatures: np.ndarray,
    scratch: Path,
    params: MinHashParams = PARAMS,
    memory_bytes: int = 10**9,
    batch: int = 7,
    hashes: np.ndarray | None = None,
) -> Clusters:
    """Feeds the finder in batches, every document signed."""
    finder = CopyFinder(len(signatures), hashes is not None, params, memory_bytes, scratch)
    for start in range(0, len(signatures), batch):
        part = signatures[start : start + batch]
        own = np.empty((0, 2), np.uint64) if hashes is None else hashes[start : start + batch]
        finder.add(ids_of(len(part), start), own, part, hash_bands(part, params.bands()), np.ones(len(part), np.bool_))
    found = finder.find()
    some = np.arange(0, len(signatures), 3)
    assert finder.ids.get(some).tolist() == [ids_of(1, number)[0] for number in some]
    return found


SIGNATURES = st.lists(st.lists(st.integers(0, 1), min_size=8, max_size=8), min_size=1, max_size=12)


@settings(max_examples=300, deadline=None)
@given(SIGNATURES, st.integers(1, 12))
def test_clusters_against_comparing_all_pairs(rows: list[list[int]], batch: int) -> None:
    found = clusters_of(np.array(rows, np.uint32), UNUSED, batch=batch)
    firsts = found.firsts.tolist()
    candidates = [
        (one, two)
        for two in range(len(rows))
        for one in range(two)
        if any(rows[one][place : place + 2] == rows[two][place : place + 2] for place in range(0, 8, 2))
    ]
    similar = [(one, two) for one, two in candidates if sum(map(int.__eq__, rows[one], rows[two])) >= 4]
    closed = firsts_of(len(rows), similar)
    assert all(closed[row] == closed[first] for row, first in enumerate(firsts)), (
        "joined without a chain of similar pairs"
    )
    assert all(firsts[first] == first <= row for row, first in enumerate(firsts))
    for one, two in similar:
        assert firsts[one] != one or firsts[two] != two, "two similar documents that share a band survive"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12), st.randoms())
def test_union_find_agrees_with_joining_sets_in_any_order(pairs: list[tuple[int, int]], rng: random.Random) -> None:
    """Each pair is a bucket of its own."""
    expected = firsts_of(10, pairs)
    for _ in range(3):
        rng.shuffle(pairs)
        parents = np.arange(10)
        keys = np.repeat(np.arange(len(pairs), dtype=np.uint64), 2)
        rows = np.array([row for pair in pairs for row in sorted(pair)], np.int64)
        link_buckets(keys, rows, np.zeros((10, 4), np.uint32), 4, parents)
        point_to_roots(parents)
        assert parents.tolist() == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 3) | st.integers(2**40, 2**40 + 3), max_size=40))
def test_pairs_are_sorted_and_equal_keys_keep_their_order(values: list[int]) -> None:
    keys, rows = np.array(values, np.uint64), np.arange(len(values))
    sort_pairs(keys, rows)
    expected = sorted(range(len(values)), key=lambda place: values[place])
    assert rows.tolist() == expected
    assert keys.tolist() == [values[place] for place in expected]


def corpus(num_originals: int, seed: int = 3) -> tuple[np.ndarray, list[int]]:
    """Signatures of originals and of copies with up to 15 % of the entries changed; where each one came from."""
    rng = np.random.default_rng(seed)
    originals = rng.integers(0, 2**32, (num_originals, 112), dtype=np.uint32)
    made_from = rng.integers(0, num_originals, num_originals)
    copies = originals[made_from]
    changed = rng.random(copies.shape) < rng.uniform(0.0, 0.10, (num_originals, 1))
    copies = np.where(changed, rng.integers(0, 2**32, copies.shape, dtype=np.uint32), copies)
    order = rng.permutation(2 * num_originals)
    return np.concatenate([originals, copies])[order], np.concatenate([np.arange(num_originals), made_from])[
        order
    ].tolist()


def test_recall_and_precision_on_planted_signatures() -> None:
    signatures, made_from = corpus(4000)
    firsts = clusters_of(signatures, UNUSED, DEFAULT, batch=1000).firsts.tolist()
    first_of: dict[int, int] = {}
    expected = [first_of.setdefault(origin, place) for place, origin in enumerate(made_from)]
    copies = [place for place, first in enumerate(expected) if first != place]
    dropped = [place for place, first in enumerate(firsts) if first != place]
    assert sum(firsts[place] == expected[place] for place in copies) >= 0.995 * len(copies)
    assert sum(firsts[place] == expected[place] for place in dropped) == len(dropped)


@pytest.mark.parametrize("memory_bytes", [1, 200_000, 2_000_000])
def test_the_result_is_the_same_for_any_budget_and_batch(tmp_path: Path, memory_bytes: int) -> None:
    signatures, _ = corpus(2000)
    hashes = np.random.default_rng(1).integers(0, 1500, (4000, 1)).repeat(2, axis=1).astype(np.uint64)
    hashes[:, 0] *= np.uint64(0x9E3779B97F4A7C15)
    inside = clusters_of(signatures, tmp_path / "a", DEFAULT, batch=999, hashes=hashes)
    outside = clusters_of(signatures, tmp_path / "b", DEFAULT, memory_bytes, batch=450, hashes=hashes)
    for name in ("firsts", "exact", "equal_entries", "num_compared"):
        assert np.array_equal(getattr(inside, name), getattr(outside, name)), name
    assert list((tmp_path / "b" / "bands").iterdir()) == [], "partitions are removed once they were read"


def test_a_key_that_two_texts_share_by_chance_does_not_join_them() -> None:
    hashes = np.array([[7, 1], [7, 2], [7, 1], [7, 3], [7, 2]], np.uint64)
    none = PARAMS.model_copy(update={"enabled": False})
    finder = CopyFinder(5, True, none, 10**9, UNUSED)
    finder.add(ids_of(5), hashes, np.empty((5, 0), np.uint32), np.empty((0, 0), np.uint64), np.zeros(5, np.bool_))
    found = finder.find()
    assert found.firsts.tolist() == [0, 1, 0, 3, 1]
    assert found.exact.tolist() == [False, False, True, False, True]


def test_copies_that_are_alike_through_another_are_one_cluster_and_say_how_alike_they_are() -> None:
    base = np.arange(112, dtype=np.uint32)
    near, further = base.copy(), base.copy()
    near[:16] += 1000
    further[:32] += 1000  # 0.71 to the first, 0.86 to the second
    found = clusters_of(np.stack([base, near, further]), UNUSED, DEFAULT)
    assert found.firsts.tolist() == [0, 0, 0]
    assert found.equal_entries.tolist() == [-1, 96, 80]


def test_documents_that_are_not_signed_are_no_copies_of_each_other() -> None:
    finder = CopyFinder(3, False, PARAMS, 10**9, UNUSED)
    signatures = np.full((3, 8), 2**32 - 1, np.uint32)
    finder.add(ids_of(3), np.empty((0, 2), np.uint64), signatures, np.empty((4, 0), np.uint64), np.zeros(3, np.bool_))
    assert finder.find().firsts.tolist() == [0, 1, 2]


def test_a_bucket_of_many_unlike_documents_costs_no_square() -> None:
    """Boilerplate: all share a band, hardly any two are alike."""
    rng = np.random.default_rng(7)
    for count in (2000, 8000):
        signatures = rng.integers(0, 2**32, (count, 112), dtype=np.uint32)
        signatures[:, :8] = 5
        found = clusters_of(signatures, UNUSED, DEFAULT, batch=count)
        assert found.num_compared <= count * MAX_REPRESENTATIVES
        assert (found.firsts == np.arange(count)).all()


def test_a_bucket_of_copies_costs_one_comparison_each() -> None:
    signatures = np.tile(np.arange(112, dtype=np.uint32), (20_000, 1))
    start = time.process_time()
    found = clusters_of(signatures, UNUSED, DEFAULT, batch=20_000)
    assert time.process_time() - start < 20, "compiling included"
    assert found.num_compared == 19_999
    assert not found.firsts.any()


def test_memory_per_document_stays_below_700_bytes() -> None:
    """All that is allocated while the clusters are found, the sorting of bands included."""
    signatures, _ = corpus(10_000)
    hashes = np.random.default_rng(1).integers(0, 2**63, (len(signatures), 2)).astype(np.uint64)
    clusters_of(signatures[:10], UNUSED, DEFAULT, hashes=hashes[:10])  # compiles
    ids, keys = ids_of(len(signatures)), hash_bands(signatures, 14)
    signed = np.ones(len(signatures), np.bool_)
    tracemalloc.start()
    try:
        finder = CopyFinder(len(signatures), True, DEFAULT, 10**9, UNUSED)
        finder.add(ids, hashes, signatures, keys, signed)
        finder.find()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    of_sorting = 16 * len(signatures)  # inside the kernel, where it is not traced
    assert peak + of_sorting < 700 * len(signatures)


def test_bytes_per_document_of_the_default() -> None:
    assert bytes_per_document(True, DEFAULT) == 448 + 14 * 8 + 8 + 24 + 32 < 700
    assert bytes_per_document(False, DEFAULT.model_copy(update={"enabled": False})) == 32
