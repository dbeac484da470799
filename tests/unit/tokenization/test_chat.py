import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgeline.core.errors import DataError
from forgeline.tokenization.chat import render_conversation, render_prompt, stop_token_ids

CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yo!"},
]
TOKENS = [
    *["<|im_start|>", *"system", "Ċ", *"Be", "Ġ", *"kind.", "<|im_end|>", "Ċ"],
    *["<|im_start|>", *"user", "Ċ", *"Hi", "<|im_end|>", "Ċ"],
    *["<|im_start|>", *"assistant", "Ċ"],
]
ANSWER = [*"Yo!", "<|im_end|>"]

# Whatever a model or a data set may say, spaces and newlines at the ends above all.
EDGES = st.sampled_from(["", " ", "\n", "\n\n", "\t ", " \n", "a", "é", "'s", "1", "assistant\n"])
CONTENT = st.builds(lambda start, middle, end: start + middle + end, EDGES, st.text(max_size=12), EDGES)


def turns(*contents: str) -> list[dict[str, str]]:
    """A chat of user and assistant in turn."""
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


def test_a_conversation_token_by_token(byte_tokenizer) -> None:
    chat = render_conversation(byte_tokenizer, CHAT)
    assert byte_tokenizer.convert_ids_to_tokens(chat.input_ids) == TOKENS + ANSWER
    assert chat.assistant_mask == [0] * len(TOKENS) + [1] * len(ANSWER)


def test_a_prompt_token_by_token(byte_tokenizer) -> None:
    assert byte_tokenizer.convert_ids_to_tokens(render_prompt(byte_tokenizer, CHAT[:2])) == TOKENS


def test_ids_by_hand(byte_tokenizer) -> None:
    # <|im_start|> 2, <|im_end|> 3, newline 202, letters from a = 68
    user, assistant = [88, 86, 72, 85], [68, 86, 86, 76, 86, 87, 68, 81, 87]
    prompt = [2, *user, 202, 68, 3, 202, 2, *assistant, 202]
    chat = render_conversation(byte_tokenizer, turns("a", "b"))
    assert render_prompt(byte_tokenizer, turns("a")) == prompt
    assert chat.input_ids == [*prompt, 69, 3]
    assert chat.assistant_mask == [0] * len(prompt) + [1, 1]


def test_every_assistant_turn_is_marked_and_nothing_between_them(byte_tokenizer) -> None:
    chat = render_conversation(byte_tokenizer, turns("a", "bb", "c", ""))
    tokens = byte_tokenizer.convert_ids_to_tokens(chat.input_ids)
    spoken = [token for token, mark in zip(tokens, chat.assistant_mask, strict=True) if mark]
    assert spoken == ["b", "b", "<|im_end|>", "<|im_end|>"]
    assert chat.assistant_mask[-1] == 1


@given(st.lists(CONTENT, min_size=1, max_size=5).filter(lambda contents: len(contents) % 2), CONTENT)
@settings(deadline=None, max_examples=150)
def test_what_inference_feeds_is_a_prefix_of_what_training_saw(tokenizer, contents: list[str], answer: str) -> None:
    prompt = render_prompt(tokenizer, turns(*contents))
    chat = render_conversation(tokenizer, turns(*contents, answer))
    assert chat.input_ids[: len(prompt)] == prompt
    rest = chat.input_ids[len(prompt) :]
    assert chat.assistant_mask[len(prompt) :] == [1] * len(rest)
    assert rest == [*tokenizer.encode(answer, add_special_tokens=False), 3]


@given(st.lists(CONTENT, min_size=2, max_size=6).filter(lambda contents: len(contents) % 2 == 0))
@settings(deadline=None)
def test_the_mask_covers_answers_and_their_ends_exactly(tokenizer, contents: list[str]) -> None:
    chat = render_conversation(tokenizer, turns(*contents))
    spoken = [token for token, mark in zip(chat.input_ids, chat.assistant_mask, strict=True) if mark]
    expected = [
        token for answer in contents[1::2] for token in (*tokenizer.encode(answer, add_special_tokens=False), 3)
    ]
    assert spoken == expected


@given(st.lists(CONTENT, min_size=1, max_size=4))
@settings(deadline=None)
def test_nothing_is_lost_in_the_cutting(tokenizer, contents: list[str]) -> None:
    prompt = render_prompt(tokenizer, turns(*contents))
    text = tokenizer.apply_chat_template(turns(*contents), tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(prompt) == text


WORD = st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1, max_size=6)
SENTENCE = st.lists(WORD, min_size=1, max_size=4).map(" ".join)


@given(st.lists(SENTENCE, min_size=2, max_size=4).filter(lambda contents: len(contents) % 2 == 0))
@settings(deadline=None)
def test_ids_equal_the_librarys_where_answers_do_not_start_with_space(tokenizer, contents: list[str]) -> None:
    theirs = tokenizer.apply_chat_template(turns(*contents), return_dict=False)
    ours = render_conversation(tokenizer, turns(*contents)).input_ids
    assert ours == theirs[: len(ours)]
    assert tokenizer.decode(theirs[len(ours) :]) == "\n"
    theirs = tokenizer.apply_chat_template(turns(*contents[:-1]), add_generation_prompt=True, return_dict=False)
    assert render_prompt(tokenizer, turns(*contents[:-1])) == theirs


def test_the_mask_equals_the_librarys(tokenizer) -> None:
    messages = turns("Who has it?", "Ann has it.", "And now?", "Ben.")
    theirs = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    ours = render_conversation(tokenizer, messages)
    assert theirs["assistant_masks"][: len(ours.assistant_mask)] == ours.assistant_mask


def test_a_template_without_marks_is_refused(byte_tokenizer) -> None:
    unmarked = copy.deepcopy(byte_tokenizer)
    unmarked.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    with pytest.raises(DataError, match=r"marks no assistant tokens: add \{% generation %\}"):
        render_conversation(unmarked, CHAT)


def test_a_conversation_without_an_assistant_is_refused(byte_tokenizer) -> None:
    with pytest.raises(DataError, match="marks no assistant tokens"):
        render_conversation(byte_tokenizer, CHAT[:2])


def test_generation_stops_at_the_end_of_turn_and_of_document(byte_tokenizer) -> None:
    assert stop_token_ids(byte_tokenizer) == [0, 3]
