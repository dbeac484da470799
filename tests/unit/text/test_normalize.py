# ruff: noqa: RUF001 - characters that look alike are what is tested here
import unicodedata
from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from ftfy.badness import is_bad
from hypothesis import given, settings
from hypothesis import strategies as st

from forgeline.text.buffers import as_buffers
from forgeline.text.kernels.normalize import REPAIR, survey
from forgeline.text.normalize import NormalForm, _treatments, normalize, normalize_texts
from forgeline.text.repair import mojibake_classes, repair, unlikely_pairs

FULL = NormalForm(unicode_repair=True, strip_urls=False, strip_code=False)
PLAIN = NormalForm(unicode_repair=False, strip_urls=False, strip_code=False)
STRIPPING = NormalForm(unicode_repair=True, strip_urls=True, strip_code=True)

TRICKY = (
    "ab \n\r\t\x00\x0b\x1b[0m\x85\xa0\xad\u200b\u2028\u3000\ufeff\ufffdé\u0301\u0327oÃ©Â â€œ™æœ½ก가\u1161\u11a8क़़中🙂"
)
TEXTS = st.lists(
    st.text(TRICKY, max_size=30)
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
    | st.text("ab. \n\r\t\x00", max_size=60),
    max_size=6,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One.\r\nTwo.\rThree.", "One.\nTwo.\nThree."),
        ("page\x0cbreak\u2028line", "page\nbreak\nline"),
        ("a \t\n\n \n\n\nb  ", "a\n\nb"),
        ("no-break\xa0\n\xa0\xa0\nblanks\u3000", "no-break\n\nblanks"),
        ("\n\n  indented\n\tby a tab\n", "  indented\n\tby a tab"),
        ("10\xa0000 stays", "10\xa0000 stays"),
        ("\ufefftab\tstays, \x00bell\x07 goes\x7f", "tab\tstays, bell goes"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("e\u0301", "é"),
        ("e\x00\u0301", "é"),
        ("q\u0323\u0307 and q\u0307\u0323", "q\u0323\u0307 and q\u0323\u0307"),
        ("soft\xadhyphen, zero\u200bwidth, word\u2060joiner", "softhyphen, zerowidth, wordjoiner"),
        ("ภาษา\u200bไทย", "ภาษา\u200bไทย"),
        ("می\u200cخواهم \U0001f468\u200d\U0001f469", "می\u200cخواهم \U0001f468\u200d\U0001f469"),
        ("", ""),
        (" \n ", ""),
    ],
)
@pytest.mark.parametrize("form", [FULL, PLAIN])
def test_what_is_normalised(text: str, expected: str, form: NormalForm) -> None:
    assert normalize(text, form) == expected
    assert normalize_texts(pa.array([text]), form).texts.to_pylist() == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("voilÃ\xa0 le cafÃ©", "voilà le café"),
        ("â€œIt\u2019s fineâ€\x9d, she said.", "“It’s fine”, she said."),
        ("ÐŸÑ€Ð¸Ð²ÐµÑ‚", "Привет"),
        ("A broken line: lâ€™Ã©tÃ©\nand a whole one: l’été", "A broken line: l’été\nand a whole one: l’été"),
        ("\x93quoted\x94", "“quoted”"),
        ("Ã\x00©", "é"),  # only with the control gone
        ("A\u0303©", "é"),  # only in normal form C
        ("&amp; ﬁne ｆｕｌｌ “curly”", "&amp; ﬁne ｆｕｌｌ “curly”"),
        ("«été» „Größe” — naïve 10°, Ærø, ÎLE", "«été» „Größe” — naïve 10°, Ærø, ÎLE"),
    ],
)
def test_repair(text: str, expected: str) -> None:
    result = normalize_texts(pa.array([text, "untouched"]), FULL)
    assert result.texts.to_pylist() == [expected, "untouched"]
    assert result.num_repaired == (text != expected)
    assert normalize(text, FULL) == expected


def test_without_repair_mojibake_stays() -> None:
    result = normalize_texts(pa.array(["cafÃ©"]), PLAIN)
    assert (result.texts.to_pylist(), result.num_repaired) == (["cafÃ©"], 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See https://example.org/a_(b)?q=1. Then www.example.org, too.", "See. Then, too."),
        ("A [link](https://example.org) and <http://example.org/x>.", "A link and."),
        ("(see ftp://example.org/file)", "(see)"),
        ("见https://example.org/页。然后", "见页。然后"),
        ("https://example.org\n\n\nText", "Text"),
        ("www. is no address, nor is http://", "www. is no address, nor is http://"),
        ("Before\n```python\nx = 1\n```\nafter `inline`.", "Before\nafter `inline`."),
        ("~~~~\n~~~\nstill code\n~~~~~\nafter", "after"),
        ("never closed\n```\nx = 1", "never closed\n```\nx = 1"),
        ("``` not a `fence` ```", "``` not a `fence` ```"),
    ],
)
def test_stripping(text: str, expected: str) -> None:
    assert normalize(text, STRIPPING) == expected
    assert normalize_texts(pa.array([text]), STRIPPING).texts.to_pylist() == [expected]
    assert normalize(text, FULL) == text.replace("\n\n\n", "\n\n")


@settings(max_examples=400)
@given(TEXTS, st.sampled_from([FULL, PLAIN, STRIPPING]))
def test_kernel_and_plain_python_agree(texts: list[str], form: NormalForm) -> None:
    result = normalize_texts(pa.array(texts, pa.string()), form)
    assert result.texts.to_pylist() == [normalize(text, form) for text in texts]
    assert result.num_repaired <= len(texts)


@settings(max_examples=200)
@given(TEXTS, st.sampled_from([FULL, PLAIN, STRIPPING]))
def test_normalising_twice_changes_nothing_more(texts: list[str], form: NormalForm) -> None:
    for text in texts:
        once = normalize(text, form)
        assert normalize(once, form) == once
        assert once == unicodedata.normalize("NFC", once)
        assert "\n\n\n" not in once
        assert once.split() == once.replace("\r", "").split()


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",))), max_size=4))
def test_words_survive(texts: list[str]) -> None:
    """Of letters and digits in normal form, none goes and none comes."""
    words = [unicodedata.normalize("NFC", "".join(filter(str.isalnum, text))) for text in texts]
    assert [normalize(word, PLAIN) for word in words] == words


def test_a_text_that_needs_nothing_is_not_copied() -> None:
    texts = pa.array(["One.\n\nTwo.", "Grüße aus Köln – “schön”", "中文没有空格。", "हिन्दी", "Tiếng Việt"])
    assert normalize_texts(texts, FULL).texts is texts


def test_a_slice_is_read_from_its_own_beginning() -> None:
    texts = pa.array(["before  ", "a  ", "b\u0301", "after  "]).slice(1, 2)
    assert normalize_texts(texts, FULL).texts.to_pylist() == ["a", unicodedata.normalize("NFC", "b\u0301")]


def _flagged(texts: list[str]) -> np.ndarray:
    content, starts = as_buffers(pa.array(texts))
    needs = survey(content, starts, _treatments(), mojibake_classes(), unlikely_pairs())
    return (needs & REPAIR) != 0


def _mojibake_characters() -> list[str]:
    return [chr(point) for point in np.flatnonzero(mojibake_classes())]


def test_no_pair_that_ftfy_finds_bad_escapes_the_kernel() -> None:
    """All pairs of the characters that mojibake is made of, and some others, between letters and between blanks."""
    characters = [*_mojibake_characters(), *"aZ .,9\t\n中я\u0301🙂"]
    missed = []
    for first in characters:
        texts = [f"{left}{first}{second}{right}" for second in characters for left, right in ("  ", "aa", "a ")]
        missed += [text for text, found in zip(texts, _flagged(texts), strict=True) if not found and is_bad(text)]
    assert missed == []


@settings(max_examples=300)
@given(st.lists(st.text([*_mojibake_characters(), *"aB .9я中"], min_size=3, max_size=8), min_size=20, max_size=60))
def test_no_sequence_that_ftfy_finds_bad_escapes_the_kernel(texts: list[str]) -> None:
    assert [text for text, found in zip(texts, _flagged(texts), strict=True) if not found and is_bad(text)] == []


def test_ordinary_text_is_not_looked_at_for_mojibake() -> None:
    """The kernel's test would be of no use if it sent every text with accents or quotes to the slow one."""
    texts = [
        "L’été dernier, « Zoë » est allée à Orléans : 25 °C — déjà vu…",
        "„Größe und Übermut“, sagte Jürgen, „kosten 10 € pro Stück.“",
        "¿Dónde está el niño? ¡Aquí! Señor Peña pagó 5 €.",
        "Zażółć gęślą jaźń, „łódź” – Świętokrzyskie.",
        "Съешь ещё этих мягких французских булок, «да» — выпей чаю.",
        "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.",
        "Částka činí 100 Kč, příliš žluťoučký kůň úpěl ďábelské ódy.",
        "“It’s only — well…” she said; ‘naïve’, café, 20 µg ± 5 %.",
        "“你好”，他说：《书》……",
        "Tôi có thể ăn thủy tinh; Đông Đô, Łódź, Österreich, Ünal, İzmir’de.",
    ]
    assert _flagged(texts).tolist() == [False] * len(texts)
    assert [repair(text) for text in texts] == texts


@pytest.mark.parametrize("separator", ["", " ", "\n", "\r\n", "\xa0"])
def test_pairs_of_awkward_characters_agree(separator: str) -> None:
    texts = [f"{first}{separator}{second}" for first, second in product(TRICKY, TRICKY)]
    assert normalize_texts(pa.array(texts), FULL).texts.to_pylist() == [normalize(text, FULL) for text in texts]
