import math
import random
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.unit.text.plain_twins import characters_of, jaccard, runs_of, words_of

from forgeline.text.kernels.minhash import Signatures
from forgeline.text.minhash import (
    MinHashParams,
    choose_num_bands,
    has_shingles,
    hash_bands,
    probability_of_being_found,
    sign,
)
from forgeline.text.shingles import hash_units

MINHASH = MinHashParams(
    enabled=True, seed=17, num_permutations=112, num_bands=14, shingle_unit="words", shingle_size=5, threshold=0.8
)
VOCABULARY = [f"w{number}" for number in range(500)]
TEXTS = st.lists(st.text("ab c\n", max_size=20) | st.text(max_size=12), max_size=6)


def words(seed: int, count: int = 120) -> list[str]:
    return random.Random(seed).choices(VOCABULARY, k=count)


def signatures_of(texts: Sequence[str], params: MinHashParams) -> Signatures:
    return sign(hash_units(pa.chunked_array([pa.array(texts, pa.string())]), params.shingle_unit), params)


def with_(**changes: object) -> MinHashParams:
    return MINHASH.model_copy(update=changes)


@pytest.mark.parametrize(("unit", "plain"), [("words", words_of), ("characters", characters_of)])
def test_texts_with_the_same_shingles_have_the_same_signature_and_others_do_not(unit, plain) -> None:
    @settings(deadline=None)
    @given(TEXTS, st.integers(1, 3))
    def check(texts: list[str], size: int) -> None:
        params = with_(shingle_unit=unit, shingle_size=size)
        shingles = [frozenset(runs_of(plain(text), size)) for text in texts]
        rows = [row.tobytes() for row in signatures_of(texts, params)]
        assert [rows[one] == rows[two] for one in range(len(texts)) for two in range(one)] == [
            shingles[one] == shingles[two] for one in range(len(texts)) for two in range(one)
        ]
        units = hash_units(pa.chunked_array([pa.array(texts, pa.string())]), unit)
        assert has_shingles(units, params).tolist() == [bool(entry) for entry in shingles]

    check()


def test_a_signature_is_the_smallest_value_under_each_permutation() -> None:
    """The signature of a text is the entry-wise minimum of those of its parts, if no shingle spans two of them."""
    params = with_(shingle_size=1)
    parts = [" ".join(words(seed, count)) for seed, count in ((1, 1), (2, 30), (3, 3000), (4, 700))]
    whole = signatures_of([" ".join(parts)], params)[0]
    assert whole.tolist() == signatures_of(parts, params).min(axis=0).tolist()


def test_signatures_estimate_the_jaccard_similarity_without_bias() -> None:
    """Mean and spread over many pairs are those of independent permutations."""
    for changed in (4, 20, 60):
        errors, expected = [], []
        for seed in range(200):
            base = words(seed)
            texts = [" ".join(base), " ".join([*base[: len(base) - changed], *words(10_000 + seed, changed)])]
            first, second = signatures_of(texts, MINHASH)
            similarity = jaccard(*texts)
            errors.append(float((first == second).mean()) - similarity)
            expected.append(similarity * (1 - similarity) / MINHASH.num_permutations)
        spread = math.sqrt(float(np.mean(expected)))
        assert abs(float(np.mean(errors))) < 4 * spread / math.sqrt(len(errors))
        assert np.std(errors) == pytest.approx(spread, rel=0.2)


def test_signatures_do_not_depend_on_the_other_documents() -> None:
    texts = [" ".join(words(seed)) for seed in range(3)]
    alone = np.concatenate([signatures_of([text], MINHASH) for text in texts])
    assert (signatures_of(texts, MINHASH) == alone).all()


def test_another_seed_gives_unrelated_signatures() -> None:
    texts = [" ".join(words(1))]
    assert not (signatures_of(texts, MINHASH) == signatures_of(texts, with_(seed=18))).any()


@given(st.lists(st.lists(st.integers(0, 2), min_size=6, max_size=6), min_size=1, max_size=8))
@settings(deadline=None)
def test_band_keys_are_equal_where_bands_are(rows: list[list[int]]) -> None:
    signatures = np.array(rows, np.uint32)
    keys = hash_bands(signatures, 3)
    for band in range(3):
        entries = [tuple(row[2 * band : 2 * band + 2]) for row in rows]
        for one in range(len(rows)):
            for two in range(one):
                assert (keys[band, one] == keys[band, two]) == (entries[one] == entries[two])


def test_pairs_share_a_band_as_often_as_the_formula_says() -> None:
    found = []
    for seed in range(400):
        base = words(seed)
        texts = [" ".join(base), " ".join([*base[:108], *words(10_000 + seed, 12)])]
        keys = hash_bands(signatures_of(texts, MINHASH), 14)
        found.append(
            bool((keys[:, 0] == keys[:, 1]).any()) - float(probability_of_being_found(jaccard(*texts), 112, 14))
        )
    assert abs(float(np.mean(found))) < 4 * 0.5 / math.sqrt(len(found))


def test_bands_are_chosen_from_the_threshold() -> None:
    """Against areas under the curve from sums over small steps, for each divisor."""

    def error(num_bands: int, threshold: float, num_steps: int = 4000) -> float:
        total = 0.0
        for step in range(num_steps):
            similarity = (step + 0.5) / num_steps
            found = 1 - (1 - similarity ** (120 // num_bands)) ** num_bands
            total += 0.1 * found if similarity < threshold else 0.9 * (1 - found)
        return total

    divisors = [number for number in range(1, 121) if 120 % number == 0]
    for threshold in (0.3, 0.5, 0.7, 0.8, 0.9, 0.95):
        assert choose_num_bands(120, threshold) == min(divisors, key=lambda number: error(number, threshold))
    chosen = [choose_num_bands(120, threshold) for threshold in (0.3, 0.5, 0.7, 0.9)]
    assert chosen == sorted(chosen, reverse=True), "a lower threshold needs more bands"
    assert with_(num_bands=None).bands() == choose_num_bands(112, 0.8)


def test_the_number_of_equal_entries_needed_is_the_threshold_in_whole_entries() -> None:
    assert [with_(threshold=value).num_equal_needed() for value in (0.8, 0.75, 0.5, 1.0, 1 / 112)] == [
        90,
        84,
        56,
        112,
        1,
    ]


def test_rules() -> None:
    with pytest.raises(ValidationError, match=r"num_permutations \(112\) must be a multiple of num_bands \(15\)"):
        MinHashParams(**{**MINHASH.model_dump(), "num_bands": 15})
    with pytest.raises(
        ValidationError, match=r"num_bands 1 finds only 0% of the pairs of similarity 0\.90.*set it to null"
    ):
        MinHashParams(**{**MINHASH.model_dump(), "num_bands": 1})
