"""Words of the kernels against spaCy's English tokenizer, whose rules they follow; and scripts without spaces."""

import numba
import numpy as np
import pytest
import spacy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from spacy.tokenizer import Tokenizer

from forgeline.text.kernels.scan import scan
from forgeline.text.kernels.tables import HASH, LENGTH, Room, WordRules
from forgeline.text.quality.special_cases import special_cases, units
from forgeline.text.quality.word_rules import hash_of, split_by, word_rules
from forgeline.text.quality.working_room import working_room

CHARACTERS = """
abcXYZ0123456789é中กЖΩ.,:;!?()[]{}<>/=+*^_#$%&@~|\\-–—'’‘“”"`´«»…°©€£µ²·•。，！？\u0301\u200d😀𝐀ß
"""  # noqa: RUF001
STRINGS = """
http:// www. example.com .co.uk user@ mailto: 192.168.0.1 8.8.8.8 :8080 /path ?q=1 US$ C$ 's ’S ... -- --- —— km
"""  # noqa: RUF001
PIECES = [*CHARACTERS.strip(), *STRINGS.split(), *sorted(special_cases()), *units()]
# What parts words, and what only looks as if it did.
BETWEEN = [" ", " ", " ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2028", "\u0085", "\x1c", "\u200b"]
CHUNKS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return spacy.blank("en").tokenizer


@settings(max_examples=1000, deadline=None)
@given(chunk=CHUNKS)
@example(chunk="(don't)")
@example(chunk="foo(x):")  # two marks that together are an emoticon
@example(chunk="Im.")  # a contraction whose last part, with the full stop, is an abbreviation
@example(chunk="°C.")
@example(chunk="lower.Upper.")
@example(chunk="user:pass@host.example.com:80/a-b?c#d")
@example(chunk="127.0.0.1/a")
@example(chunk="a..b...c")
def test_chunks_are_split_as_spacy_does(chunk: str, tokenizer: Tokenizer) -> None:
    assert split_by(word_rules(), chunk) == [token.text for token in tokenizer(chunk)]


@settings(max_examples=500, deadline=None)
@given(chunk=st.text(st.characters(exclude_categories=["Z", "Cc", "Cs"]), min_size=1, max_size=12))
def test_any_characters_are_split_as_spacy_does(chunk: str, tokenizer: Tokenizer) -> None:
    assert split_by(word_rules(), chunk) == [token.text for token in tokenizer(chunk)]


@numba.njit(_nrt=False)
def count_words(content: np.ndarray, rules: WordRules, unspaced: bool, room: Room) -> int:
    """Makes `scan`, which only kernels can call, one that Python can."""
    return scan(content, np.int64(0), content.size, rules, unspaced, room).num_words


def words_of(text: str, unspaced: bool = False) -> list[tuple[int, int]]:
    """Hash and length of every word of a text."""
    content = np.frombuffer(bytearray(text.encode()), np.uint8)
    room = working_room(content.size)
    count = count_words(content, word_rules(), unspaced, room)
    return [(row[HASH], row[LENGTH]) for row in room.words[:count].tolist()]


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(st.tuples(st.sampled_from(BETWEEN), CHUNKS), max_size=20))
def test_a_text_has_the_words_of_its_chunks(parts: list[tuple[str, str]]) -> None:
    text = "".join(blank + chunk for blank, chunk in parts)
    expected = [word for chunk in text.split() for word in split_by(word_rules(), chunk)]
    assert words_of(text) == [(hash_of(word), len(word)) for word in expected]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("今天天气很好，去公园。", "今 天 天 气 很 好 ， 去 公 园 。"),  # noqa: RUF001
        ("他说：“AI模型v2”", "他 说 ： “ AI 模 型 v2 ”"),  # noqa: RUF001
        ("コーヒーを飲む", "コ ー ヒ ー を 飲 む"),
        ("ภาษาไทย", "ภ า ษ า ไ ท ย"),
        ("ที่นี่ ok", "ที่ นี่ ok"),  # marks belong to their letter
        ("don't 5km 好", "do n't 5 km 好"),  # other scripts as ever
        ("한국어 문장", "한국어 문장"),  # Korean has spaces
    ],
)
def test_letters_of_scripts_without_spaces_are_words(text: str, words: str) -> None:
    assert words_of(text, unspaced=True) == [(hash_of(word), len(word)) for word in words.split()]
