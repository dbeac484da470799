import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgeline.core.errors import DataError
from forgeline.core.records import (
    DOCUMENTS,
    Conversation,
    EvalSample,
    PreferencePair,
    document_id,
    documents_table,
    read_documents,
    read_records,
    write_documents,
    write_records,
)

TEXT = st.text(max_size=20)
MESSAGES = st.lists(st.fixed_dictionaries({"role": TEXT, "content": TEXT}), max_size=3)
CONVERSATIONS = st.builds(Conversation.make, TEXT, TEXT, TEXT, MESSAGES, TEXT)
PAIRS = st.builds(PreferencePair.make, TEXT, TEXT, TEXT, MESSAGES, TEXT, TEXT)
SAMPLES = st.builds(EvalSample.make, TEXT, TEXT, MESSAGES, TEXT, st.lists(TEXT, max_size=3))
QUICK = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.mark.parametrize(
    ("kind", "records"), [(Conversation, CONVERSATIONS), (PreferencePair, PAIRS), (EvalSample, SAMPLES)]
)
@given(data=st.data())
@QUICK
def test_records_come_back_as_they_were_written(tmp_path: Path, kind: type, records: st.SearchStrategy, data) -> None:
    written = data.draw(st.lists(records, max_size=4))
    file = tmp_path / "records.parquet"
    write_records(file, kind, written)
    first = file.read_bytes()
    assert read_records(file, kind) == written
    write_records(file, kind, read_records(file, kind))
    assert file.read_bytes() == first


@given(texts=st.lists(TEXT, max_size=5))
@QUICK
def test_documents_come_back_as_they_were_written(tmp_path: Path, texts: list[str]) -> None:
    table = documents_table(texts, "toy")
    write_documents(tmp_path / "documents.parquet", table)
    back = read_documents(tmp_path / "documents.parquet")
    assert back.schema == DOCUMENTS
    assert back["text"].to_pylist() == texts
    assert back["doc_id"].to_pylist() == [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
    assert back["source"].to_pylist() == ["toy"] * len(texts)


def test_a_document_is_named_by_its_text() -> None:
    assert document_id("abc") == "ba7816bf8f01cfea414140de5dae2223"


def turn(content: str, role: str = "user") -> dict[str, str]:
    return {"role": role, "content": content}


def test_conversation_ids_depend_on_messages_and_tools_alone() -> None:
    base = Conversation.make("a", "b", "c", [turn("x")])
    assert Conversation.make("d", "e", "f", [{"content": "x", "role": "user"}]).conversation_id == base.conversation_id
    others = [
        Conversation.make("a", "b", "c", [turn("y")]),
        Conversation.make("a", "b", "c", [turn("x", "system")]),
        Conversation.make("a", "b", "c", [turn("x"), turn("x")]),
        Conversation.make("a", "b", "c", [turn("x")], "[]"),
    ]
    assert len({base.conversation_id, *(other.conversation_id for other in others)}) == 5


def test_pair_ids_depend_on_prompt_and_answers_alone() -> None:
    base = PreferencePair.make("a", "b", "c", [turn("x")], "good", "bad")
    assert PreferencePair.make("d", "e", "f", [turn("x")], "good", "bad").pair_id == base.pair_id
    others = [
        PreferencePair.make("a", "b", "c", [turn("y")], "good", "bad"),
        PreferencePair.make("a", "b", "c", [turn("x")], "bad", "good"),
        PreferencePair.make("a", "b", "c", [turn("x")], "goodb", "ad"),
    ]
    assert len({base.pair_id, *(other.pair_id for other in others)}) == 4


def test_sample_ids_depend_on_what_is_asked_and_how_it_is_scored() -> None:
    base = EvalSample.make("task", "key", [turn("x")], "yes", ["yes", "no"])
    assert EvalSample.make("task", "other", [turn("x")], "yes", ("yes", "no")).sample_id == base.sample_id
    others = [
        EvalSample.make("other", "key", [turn("x")], "yes", ["yes", "no"]),
        EvalSample.make("task", "key", [turn("y")], "yes", ["yes", "no"]),
        EvalSample.make("task", "key", [turn("x")], "no", ["yes", "no"]),
        EvalSample.make("task", "key", [turn("x")], "yes", ["no", "yes"]),
        EvalSample.make("task", "key", [turn("x")], "yes"),
    ]
    assert len({base.sample_id, *(other.sample_id for other in others)}) == 6


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_records(tmp_path / "x.parquet", EvalSample, [EvalSample.make("t", "k", [turn("x")], "r")])
    with pytest.raises(DataError, match="has the columns"):
        read_records(tmp_path / "x.parquet", Conversation)
    with pytest.raises(DataError, match="has the columns"):
        read_documents(tmp_path / "x.parquet")
