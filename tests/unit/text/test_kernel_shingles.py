"""The hashes of words, characters and folded texts against plain Python."""

import hashlib
import re
from collections.abc import Callable, Sequence
from itertools import chain, pairwise

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.text.plain_twins import characters_of, folded, is_word_by_itself, lower, words_of

from forgeline.text.exact import content_hashes
from forgeline.text.kernels import shingles as kernels
from forgeline.text.kernels.characters import ALONE, LOWER, SPACE, WORD, character_table
from forgeline.text.kernels.runs import hash_run
from forgeline.text.shingles import Unit, hash_units

# Letters of one to four bytes, white space and signs, capital letters with odd lower cases, and scripts without blanks.
SAMPLES = (
    "aZ_9 \t\n.-'éßЖ\u03a3\u03c3\u03c2\u0130\u0131ȺⱥKÅ中文字かカﾊไทยລາວខ្មែមြ\u00a0\u3000\u200b\u0301\U0001d4b3😀𠀀"
)
TEXTS = st.text(st.sampled_from(SAMPLES), max_size=24) | st.text(max_size=12)


def column(texts: Sequence[str], num_chunks: int = 1) -> pa.ChunkedArray:
    """As many chunks; each is a slice, so that its offsets do not begin at zero."""
    whole = pa.array(["left out", *texts], pa.string())
    cuts = [1 + len(texts) * number // num_chunks for number in range(num_chunks + 1)]
    return pa.chunked_array([whole[start:end] for start, end in pairwise(cuts)], pa.string())


def test_the_table_says_what_python_says() -> None:
    table = character_table()
    for code_point, entry in enumerate(table.tolist()):
        character = chr(code_point)
        assert bool(entry & int(WORD)) == bool(re.match(r"\w", character))
        assert bool(entry & int(SPACE)) == character.isspace()
        assert bool(entry & int(ALONE)) == is_word_by_itself(character)
        assert chr(entry & int(LOWER)) == lower(character)


@pytest.mark.parametrize(("unit", "plain"), [("words", words_of), ("characters", characters_of)])
def test_units_are_those_of_a_plain_loop(unit: Unit, plain: Callable[[str], Sequence[str]]) -> None:
    @settings(max_examples=300, deadline=None)
    @given(st.lists(TEXTS, max_size=6), st.integers(1, 3))
    @example(["a", "b", "c", ""], 1)  # as many words as bytes: the array of hashes is just large enough
    @example(["中a文", "A中", "ΟΔΟΣ οδος οδοσ"], 1)
    def check(texts: list[str], num_chunks: int) -> None:
        units = hash_units(column(texts, num_chunks), unit)
        expected = [list(plain(text)) for text in texts]
        assert np.diff(units.starts).tolist() == [len(entry) for entry in expected]
        known: dict[str, int] = {}
        for value, entry in zip(units.hashes.tolist(), chain(*expected), strict=True):
            assert known.setdefault(entry, value) == value
        assert len(set(known.values())) == len(known)

    check()


def test_hashes_of_words_do_not_change() -> None:
    """Written down: a change would give other signatures, and so another corpus, from the same data."""
    hashes = hash_units(column(["Naïve words, 中 2"]), "words").hashes
    assert hashlib.sha256(hashes.astype("<u8").tobytes()).hexdigest()[:16] == PINNED


PINNED = "43565c638196bb26"


def test_the_order_of_words_matters_in_a_run() -> None:
    units = hash_units(column(["a b c", "a c b", "b a c", "a b c"]), "words")
    first, *others, last = (int(hash_run(units.hashes, np.uint64(start), np.uint64(3))) for start in units.starts[:-1])
    assert first == last
    assert len({first, *others}) == 3


def test_long_words_of_few_letters_have_different_hashes() -> None:
    words = [f"{number:017b}".replace("0", "a").replace("1", "b") for number in range(1 << 17)]
    assert len(np.unique(hash_units(column(words), "words").hashes)) == len(words)


@settings(deadline=None)
@given(st.binary(max_size=30), st.integers(0, 5))
def test_invalid_utf8_is_read_within_its_bounds(data: bytes, start: int) -> None:
    """Not reached through Arrow's readers, which check; a kernel must all the same never leave its array."""
    content = np.frombuffer(data, np.uint8)
    offsets = np.array([min(start, len(data)), len(data)], np.int64)
    hashes, starts = np.empty(len(data) + 3, np.uint64), np.empty(2, np.int64)
    kernels.hash_words(content, offsets, character_table(), hashes, starts)
    assert 0 <= starts[1] <= len(data)


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS, max_size=6), st.integers(1, 3))
@example(["ȺȾ" * 40], 1)  # twice two bytes whose lower case takes three
def test_content_hashes_are_those_of_folded_texts(texts: list[str], num_chunks: int) -> None:
    expected = [xxhash.xxh3_128(folded(text).encode()).digest() for text in texts]
    assert [row.astype(">u8").tobytes() for row in content_hashes(column(texts, num_chunks))] == expected


def test_content_hashes_tell_punctuation_but_not_case_or_layout() -> None:
    texts = ["One two", "one\n\ttwo ", "one, two", "one two?", "onetwo", "", " \n"]
    hashes = [row.tobytes() for row in content_hashes(column(texts))]
    assert hashes[0] == hashes[1]
    assert hashes[5] == hashes[6]
    assert len(set(hashes)) == 5
