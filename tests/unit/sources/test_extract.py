import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgeline.core.errors import DataError
from forgeline.sources.extract import TextOf
from forgeline.sources.formats.records import Records
from forgeline.sources.template import field_names


def extract(text: str, *rows: object) -> list[str]:
    records = Records(list(rows), lambda index: f"a.jsonl:{index + 1}")
    return [value for batch in TextOf(text).texts(records) for value in batch.values]


@pytest.mark.parametrize(
    ("text", "row", "expected"),
    [
        ("body", {"body": "One.", "id": 3}, "One."),
        ("meta.body", {"meta": {"body": "One."}}, "One."),
        ("meta.body", {"meta.body": "Flat.", "meta": {"body": "Deep."}}, "Flat."),
        ("a.b.c", {"a": {"b": {"c": "Deep."}}}, "Deep."),
        ("{q}\n\n{a}", {"q": "What?", "a": "That."}, "What?\n\nThat."),
        ("{m.q}/{m.a}", {"m": {"q": "x", "a": "y"}}, "x/y"),
        ("{q}{q}", {"q": "x"}, "xx"),
        ("{{{q}}} %s {{}}", {"q": "x"}, "{x} %s {}"),
        ("{q}", {"q": "{not} {{a}} %d template"}, "{not} {{a}} %d template"),
        ("{t} ({year})", {"t": "Title", "year": 1999}, "Title (1999)"),
        ("{n}", {"n": -7}, "-7"),
        ("Q: {q} A: {a}", {"q": "", "a": "y"}, "Q:  A: y"),
        ("a field", {"a field": "x"}, "x"),
        ("{a field}", {"a field": "x"}, "x"),
    ],
)
def test_a_text_is_a_field_or_a_filled_template(text, row, expected) -> None:
    assert extract(text, row) == [expected]


def test_a_template_over_blank_fields_alone_is_blank() -> None:
    assert extract("Q: {q} A: {a}", {"q": " ", "a": ""}, {"q": "x", "a": ""}) == [" ", "Q: x A: "]


@pytest.mark.parametrize(
    ("text", "row", "message"),
    [
        ("body", {"text": "x", "id": 1}, r"a\.jsonl:2: no field 'body' \(its fields: id, text\): correct `text`"),
        ("body", {}, r"a\.jsonl:2: no field 'body' \(its fields: none\)"),
        ("a.b", {"a": {"c": "x"}}, r"a\.jsonl:2: no field 'a\.b' \(its fields: a\)"),
        ("a.b", {"a": "b"}, r"a\.jsonl:2: no field 'a\.b'"),
        ("a.b", {"a": None}, r"a\.jsonl:2: no field 'a\.b'"),
        ("body", {"body": 3}, r"a\.jsonl:2: field 'body' holds a whole number, expected text"),
        ("body", {"body": None}, r"a\.jsonl:2: field 'body' holds nothing \(null\), expected text"),
        ("body", {"body": ["x"]}, r"a\.jsonl:2: field 'body' holds a list, expected text"),
        ("body", {"body": {"x": "y"}}, r"a\.jsonl:2: field 'body' holds an object, expected text"),
        ("{body}", {"body": 1.5}, r"a\.jsonl:2: field 'body' holds a number, expected text"),
        ("{body}", {"body": True}, r"a\.jsonl:2: field 'body' holds true or false, expected text"),
        ("body", ["body"], r"a\.jsonl:2: holds a list, expected an object"),
        ("body", "body", r"a\.jsonl:2: holds str, expected an object"),
        ("body", None, r"a\.jsonl:2: holds nothing \(null\), expected an object"),
    ],
)
def test_a_record_without_the_text_is_named(text, row, message) -> None:
    good = {"body": "fine", "a": {"b": "fine"}}
    with pytest.raises(DataError, match=message):
        extract(text, good, row)


def test_records_before_a_bad_one_come_first() -> None:
    records = Records([{"t": "a"}, {"t": "b"}, {"t": 3}, {"t": "c"}], str)
    batches = TextOf("t").texts(records)
    assert next(batches).values == ["a", "b"]
    with pytest.raises(DataError, match="2: field 't' holds a whole number"):
        next(batches)


@given(
    literals=st.lists(st.text(max_size=6), min_size=3, max_size=3),
    values=st.lists(st.text(max_size=6), min_size=2, max_size=2),
)
def test_filling_a_template_is_concatenation(literals, values) -> None:
    escaped = [literal.replace("{", "{{").replace("}", "}}") for literal in literals]
    template = f"{escaped[0]}{{first}}{escaped[1]}{{second}}{escaped[2]}"
    (found,) = extract(template, {"first": values[0], "second": values[1]})
    if any(value.strip() for value in values):
        assert found == literals[0] + values[0] + literals[1] + values[1] + literals[2]
    else:
        assert not found.strip()
    assert field_names(template) == ("first", "second")
