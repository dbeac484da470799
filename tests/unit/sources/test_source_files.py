import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from forgeline.core.errors import DataError
from forgeline.sources.files import jsonl_documents, text_documents
from forgeline.sources.hpo_split import HpoParams
from forgeline.sources.ingest import ingest
from forgeline.sources.params import SourceParams, SourcesParams

HPO = HpoParams(seed=17, validation_fraction=0.05, test_fraction=0.1, max_phenotypes=8)


def test_blank_lines_separate_the_documents_of_a_text_file(tmp_path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff\n\nOne,\r\nstill one.\r\n \t\r\n\r\nTwo.\n\n".encode())
    assert text_documents(path) == ["One,\nstill one.", "Two."]


def test_jsonl_takes_one_field_and_keeps_blank_texts_for_the_count(tmp_path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "One."}\n\n{"text": " ", "n": 1}\n{"text": "Zwei \\u00e4"}', encoding="utf-8")
    assert jsonl_documents(path, "text") == ["One.", " ", "Zwei ä"]
    params = SourceParams(kind="jsonl", path=str(path), text_field="text", max_documents=None)
    result = ingest("mine", path, params, HPO)
    assert result.documents["text"].to_pylist() == ["One.", "Zwei ä"]
    assert result.documents["source"].to_pylist() == ["mine", "mine"]
    assert result.counts.as_json() == {"in": 3, "out": 2, "dropped": {"empty": 1}}
    assert result.dropped.to_pylist()[0]["detail"] == "record 2"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"a\.jsonl does not exist"),
        (b"", r"a\.jsonl is empty"),
        (b" \n\t\n", r"a\.jsonl is empty"),
        (b'{"text": "a"}\n{"text": "\xff"}\n', r"a\.jsonl:2: not UTF-8 \(byte 24 of the file\)"),
        (b'{"text": "a"}\n{"text": \n', r"a\.jsonl:2: not valid JSON"),
        (b'{"text": "a"}\n\n[1]\n', r"a\.jsonl:3: holds list, expected an object"),
        (b'{"text": "a"}\n{"body": "b", "id": 1}\n', r"a\.jsonl:2: no field 'text' \(its fields: body, id\)"),
        (b'{"text": 3}\n', r"a\.jsonl:1: field 'text' holds int, expected text"),
        (b'{"text": null}\n', r"a\.jsonl:1: field 'text' holds NoneType, expected text"),
        (b'{"text": "\\ud800"}\n', r"a\.jsonl:1: holds half of a surrogate pair"),
    ],
)
def test_every_jsonl_error_names_file_and_line(tmp_path, content, message) -> None:
    path = tmp_path / "a.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        jsonl_documents(path, "text")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"\n \n", "is empty"),
        (b"ok\nok\n\xc3", r"a\.txt:3: not UTF-8 \(byte 6 of the file\)"),
    ],
)
def test_every_text_error_names_the_file(tmp_path, content, message) -> None:
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        text_documents(path)


def test_a_folder_is_not_a_file(tmp_path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        text_documents(tmp_path)


def test_text_field_goes_with_jsonl_only() -> None:
    with pytest.raises(ValidationError, match="needs text_field"):
        SourceParams(kind="jsonl", path="a", text_field=None, max_documents=None)
    with pytest.raises(ValidationError, match="for kind jsonl only"):
        SourceParams(kind="text", path="a", text_field="text", max_documents=None)
    with pytest.raises(ValidationError, match="at least one source"):
        SourcesParams(sources={})


@settings(max_examples=50)
@given(texts=st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=20), min_size=1, max_size=8))
def test_every_record_of_a_jsonl_file_is_kept_or_dropped(tmp_path_factory, texts) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    path.write_text("".join(json.dumps({"t": text}) + "\n" for text in texts), encoding="utf-8")
    result = ingest("mine", path, SourceParams(kind="jsonl", path="", text_field="t", max_documents=None), HPO)
    assert result.documents["text"].to_pylist() == [text for text in texts if text.strip()]
    assert result.dropped.num_rows == sum(not text.strip() for text in texts)
