import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from forgeline.core.records import documents_table
from forgeline.text.clean import CleanParams, clean, duplicate_line_fraction, normalize, symbol_fraction

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=60) | st.text(
    "ab \n\r\t\x00\x0b#é\u0301", max_size=40
)


def params(**changes: float) -> CleanParams:
    values = {"min_characters": 5, "max_characters": 30, "max_symbol_fraction": 0.3, "max_duplicate_line_fraction": 0.3}
    return CleanParams.model_validate({**values, **changes})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One.\r\nTwo.\rThree.", "One.\nTwo.\nThree."),
        ("page\x0cbreak\u2028line", "page\nbreak\nline"),
        ("a \t\n\n \n\n\nb  ", "a\n\nb"),
        ("\n\n  indented\n", "  indented"),
        ("tab\tstays, \x00bell\x07 goes\ufeff", "tab\tstays, bell goes"),
        ("e\u0301", "é"),
        ("e\x00\u0301", "é"),
        ("", ""),
    ],
)
def test_normalize(text: str, expected: str) -> None:
    assert normalize(text) == expected


@given(TEXTS)
def test_normalizing_twice_changes_nothing_more(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    assert "\n\n\n" not in once


@pytest.mark.parametrize(
    ("text", "fate"),
    [
        ("abcd", ("too_short", "4 characters")),
        ("abcde", None),
        ("a" * 30, None),
        ("a" * 31, ("too_long", "31 characters")),
        ("abcdefg ###", None),  # 3 of 10 is not above 0.3
        ("abcdef ####", ("too_many_symbols", "0.400")),
        ("aa\nbb\ncc\naa", None),
        ("aa\n aa\n\ncc", ("duplicate_lines", "0.333")),
    ],
)
def test_thresholds_are_exact(text: str, fate: tuple[str, str] | None) -> None:
    result = clean(documents_table([text], "s"), params())
    dropped = [(row["reason"], row["detail"]) for row in result.dropped.to_pylist()]
    assert dropped == ([] if fate is None else [fate])
    assert result.documents["text"].to_pylist() == ([text] if fate is None else [])


def test_vowel_marks_are_not_symbols() -> None:
    assert symbol_fraction("हिन्दी में") == 0.0
    assert symbol_fraction("a_-b") == 0.5
    assert symbol_fraction("  ") == 0.0


def test_duplicate_lines() -> None:
    assert duplicate_line_fraction("") == 0.0
    assert duplicate_line_fraction("a\na\na\nb") == 0.5


@given(st.lists(TEXTS, max_size=8))
def test_every_document_is_kept_or_dropped(texts: list[str]) -> None:
    table = documents_table(texts, "s")
    result = clean(table, params())
    assert result.counts.num_in == len(texts) == result.documents.num_rows + result.dropped.num_rows
    dropped = result.dropped["doc_id"].to_pylist()
    kept = [text for text, doc_id in zip(texts, table["doc_id"].to_pylist(), strict=True) if doc_id not in dropped]
    assert result.documents["text"].to_pylist() == [normalize(text) for text in kept]


def test_the_range_of_lengths_must_hold_something() -> None:
    with pytest.raises(ValidationError, match="min_characters is above max_characters"):
        params(min_characters=31)
