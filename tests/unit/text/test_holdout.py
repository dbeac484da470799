import pytest

from forgeline.core.errors import DataError
from forgeline.core.records import Conversation, PreferencePair, documents_table
from forgeline.text.holdout import HoldoutParams, hold_out

PARAMS = HoldoutParams(shared_words=4)


def chat(answer: str) -> Conversation:
    messages = [{"role": "user", "content": "why"}, {"role": "assistant", "content": answer}]
    return Conversation.make("set", "task", "key", messages)


def pair(chosen: str, rejected: str) -> PreferencePair:
    return PreferencePair.make("set", "task", "key", [{"role": "user", "content": "why"}], chosen, rejected)


def test_documents_that_training_answers_quote_are_not_scored() -> None:
    texts = ["the cat sat on the mat", "a dog ran far away today", "one two three four", "nothing of the sort here"]
    result = hold_out(
        documents_table(texts, "s"),
        [chat("He said: The cat sat on it.")],
        [pair("see a dog ran far", "zero One two three four five")],
        PARAMS,
    )
    assert result.documents["text"].to_pylist() == ["nothing of the sort here"]
    assert result.counts.as_json() == {"in": 4, "out": 1, "dropped": {"quoted_in_training": 3}}


def test_no_document_left_is_an_error_that_names_the_knobs() -> None:
    with pytest.raises(DataError, match=r"curate\.test_fraction.*holdout\.shared_words"):
        hold_out(documents_table(["one two three four"], "s"), [chat("one two three four")], [], PARAMS)
