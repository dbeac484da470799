"""Every chat template: its text and mask by hand, its equality with the published format, its tokens, its refusals."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import trl
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import byte_bpe_params, shards_of
from tests.unit.tokenization import published_templates as published
from tests.unit.tokenization.tokenizer_params import sentencepiece_params
from transformers.utils.chat_template_utils import render_jinja_template

from forgeline.core.errors import DataError, FingerprintError, ParamsError
from forgeline.core.storage import sha256_path, write_json
from forgeline.tokenization.assembly import read_template, save_tokenizer
from forgeline.tokenization.byte_bpe import train_byte_bpe
from forgeline.tokenization.chat import render_conversation, render_prompt, stop_token_ids
from forgeline.tokenization.loading import load_tokenizer
from forgeline.tokenization.params import NUM_BYTES, SPECIAL_TOKENS
from forgeline.tokenization.template import TEMPLATE_FILE, facts_of, find_template, template_names
from forgeline.tokenization.train import make_tokenizer

CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yo!"},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "Ciao"},
]
CALL = [
    {"role": "user", "content": "Sum?"},
    {"role": "function_call", "content": '{"name": "add", "arguments": {"a": 1, "b": "x"}}'},
    {"role": "observation", "content": "2"},
    {"role": "assistant", "content": "It is 2."},
]
TOOLS = [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}}]

# What the assistant says stands between « and »: text and mask at once.
_CHATML = (
    "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n«Yo!<|im_end|>»\n"
    "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n«Ciao<|im_end|>»"
)
GOLDEN = {
    "alpaca": "Be kind.\n\n### Instruction:\nHi\n\n### Response:«Yo!</s>»\n\n### Instruction:\nBye\n\n### Response:"
    "«Ciao</s>»",
    "baichuan2": "Be kind.<reserved_106>Hi<reserved_107>«Yo!»<reserved_106>Bye<reserved_107>«Ciao</s>»",
    "chat": "Be kind.\n### Human: Hi\n### Assistant:« Yo!</s>»\n### Human: Bye\n### Assistant:« Ciao</s>»",
    "chatglm3": "[gMASK]sop<|system|>\n Be kind.<|user|>\n Hi<|assistant|>«\n Yo!<|user|>»\n Bye<|assistant|>"
    "«\n Ciao<|user|>»",
    "chatml": _CHATML,
    "deepseek": "<｜begin▁of▁sentence｜>Be kind.<｜User｜>Hi<｜Assistant｜>«Yo!<｜end▁of▁sentence｜>»"
    "<｜User｜>Bye<｜Assistant｜>«Ciao<｜end▁of▁sentence｜>»",
    "forgeline": _CHATML,
    "gemma": "<bos><start_of_turn>user\nBe kind.\n\nHi<end_of_turn>\n<start_of_turn>model\n«Yo!<end_of_turn>»\n"
    "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n«Ciao<end_of_turn>»",
    "instruct": "### System:\nBe kind.\n\n### Instruction:\nHi\n\n### Response:\n«Yo!<|im_end|>»\n\n"
    "### Instruction:\nBye\n\n### Response:\n«Ciao<|im_end|>»",
    "internlm2": "<s>" + _CHATML,
    "llama2": "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST]« Yo! </s>»<s>[INST] Bye [/INST]« Ciao </s>»",
    "llama3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    "«Yo!<|eot_id|>»<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n«Ciao<|eot_id|>»",
    "mistral": "<s> [INST] Be kind.\n\nHi [/INST]« Yo!</s>» [INST] Bye [/INST]« Ciao</s>»",
    "phi": "<|system|>\nBe kind.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\n«Yo!<|end|>»\n<|user|>\nBye<|end|>\n"
    "<|assistant|>\n«Ciao<|end|>»",
    "plain": "System: Be kind.\nUser: Hi\nAssistant:« Yo!<|im_end|>»\nUser: Bye\nAssistant:« Ciao<|im_end|>»",
    "qwen": _CHATML,
    "qwen3": _CHATML.replace("«", "«<think>\n\n</think>\n\n"),
    "qwen3_no_thinking": _CHATML.replace("«", "<think>\n\n</think>\n\n«"),
    "vicuna": "<s>Be kind. USER: Hi ASSISTANT:« Yo!</s>»USER: Bye ASSISTANT:« Ciao</s>»",
    "yi": _CHATML,
    "zephyr": "<|system|>\nBe kind.</s>\n<|user|>\nHi</s>\n<|assistant|>\n«Yo!</s>»\n<|user|>\nBye</s>\n"
    "<|assistant|>\n«Ciao</s>»",
}
_QWEN_CALL = (
    '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "x"}}\n</tool_call><|im_end|>»\n<|im_start|>user\n'
    "<tool_response>\n2\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
)
GOLDEN_CALLS = {
    "chatglm3": '[gMASK]sop<|user|>\n Sum?<|assistant|>«add\n{"a": 1, "b": "x"}<|observation|>»\n 2<|assistant|>'
    "«\n It is 2.<|user|>»",
    "deepseek": "<｜begin▁of▁sentence｜><｜User｜>Sum?<｜Assistant｜>«<｜tool▁calls▁begin｜>"
    '<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{"a": 1, "b": "x"}\n```'
    "<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>»"
    "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>2<｜tool▁output▁end｜><｜tool▁outputs▁end｜>"
    "«It is 2.<｜end▁of▁sentence｜>»",
    "llama3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nSum?<|eot_id|>"
    '<|start_header_id|>assistant<|end_header_id|>\n\n«{"name": "add", "parameters": {"a": 1, "b": "x"}}<|eot_id|>»'
    '<|start_header_id|>ipython<|end_header_id|>\n\n"2"<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n'
    "«It is 2.<|eot_id|>»",
    "qwen": "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    f"<|im_start|>user\nSum?<|im_end|>\n<|im_start|>assistant\n«{_QWEN_CALL}«It is 2.<|im_end|>»",
    "qwen3": "<|im_start|>user\nSum?<|im_end|>\n<|im_start|>assistant\n«<think>\n\n</think>\n\n"
    f"{_QWEN_CALL}«<think>\n\n</think>\n\nIt is 2.<|im_end|>»",
    "qwen3_no_thinking": "<|im_start|>user\nSum?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n«"
    f"{_QWEN_CALL}<think>\n\n</think>\n\n«It is 2.<|im_end|>»",
}


@pytest.fixture(scope="session")
def tokenizer_of(tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """Makes a tokenizer of bytes with a template, once for each."""
    shards, made = shards_of(tmp_path_factory.mktemp("x"), ["x"]), {}

    def make(name: str):
        if name not in made:
            known = set(SPECIAL_TOKENS)
            others = [token for token in facts_of(find_template(name)).special_tokens if token not in known]
            size = NUM_BYTES + len(SPECIAL_TOKENS) + len(others)
            made[name] = train_byte_bpe(shards, byte_bpe_params(size, 1, chat_template=name))
        return made[name]

    return make


def marked(tokenizer, chat) -> str:
    """The rendered text with « and » where the mask begins and ends."""
    text, spoken = "", 0
    for token, mark in zip(tokenizer.convert_ids_to_tokens(chat.input_ids), chat.assistant_mask, strict=True):
        text += {(0, 1): "«", (1, 0): "»"}.get((spoken, mark), "") + token
        spoken = mark
    return text.replace("Ġ", " ").replace("Ċ", "\n") + ("»" if spoken else "")


def test_every_template_has_a_golden_text() -> None:
    assert sorted(GOLDEN) == template_names()


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_text_and_mask_by_hand(tokenizer_of, name: str) -> None:
    tokenizer = tokenizer_of(name)
    assert marked(tokenizer, render_conversation(tokenizer, CHAT)) == GOLDEN[name]


@pytest.mark.parametrize("name", sorted(GOLDEN_CALLS))
def test_function_calls_by_hand(tokenizer_of, name: str) -> None:
    tokenizer = tokenizer_of(name)
    assert marked(tokenizer, render_conversation(tokenizer, CALL)) == GOLDEN_CALLS[name]


def test_ids_and_mask_as_numbers(tokenizer_of) -> None:
    # four special tokens, <s> 4, </s> 5, bytes from 6: ! 6, H 45, Y 62, a 70, space 226
    tokenizer = tokenizer_of("mistral")
    chat = render_conversation(tokenizer, [{"role": "user", "content": "a"}, {"role": "assistant", "content": "!"}])
    ids = [4, 226, *tokenizer.encode("[INST]"), 226, 70, 226, *tokenizer.encode("[/INST]"), 226, 6, 5]
    assert chat.input_ids == ids
    assert chat.assistant_mask == [0] * (len(ids) - 3) + [1, 1, 1]


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_what_inference_feeds_is_a_prefix_of_what_training_saw(tokenizer_of, name: str) -> None:
    tokenizer = tokenizer_of(name)
    for chat in (CHAT, CHAT[1:], *([CALL] if name in GOLDEN_CALLS else [])):
        seen = render_conversation(tokenizer, chat).input_ids
        for place, message in enumerate(chat):
            if message["role"] in ("assistant", "function_call"):
                asked = render_prompt(tokenizer, chat[:place])
                assert seen[: len(asked)] == asked
    assert set(stop_token_ids(tokenizer)) >= {tokenizer.eos_token_id, seen[-1]}


def published_text(source: str, messages: list, prompt: bool, tools: list | None = None, **tokens: str) -> str:
    texts, _ = render_jinja_template(
        [messages], tools=tools, chat_template=source, add_generation_prompt=prompt, **tokens
    )
    return texts[0]


def trl_file(name: str) -> str:
    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


LLAMA = {"bos_token": "<s>", "eos_token": "</s>"}
JINJA = {  # our name: their source, their tokens, whether they know a system prompt
    "llama2": (published.LLAMA2, LLAMA, True),
    "mistral": (published.MISTRAL, LLAMA, True),
    "chatml": (published.CHATML, {}, True),
    "yi": (published.CHATML, {}, True),
    "internlm2": (published.INTERNLM2, {"bos_token": "<s>"}, True),
    "chatglm3": (published.CHATGLM3, {}, True),
    "zephyr": (published.ZEPHYR, LLAMA, True),
    "llama3": (trl_file("llama3"), {"bos_token": "<|begin_of_text|>"}, True),
    "qwen": (trl_file("qwen2_5"), {}, True),
    "qwen3": (trl_file("qwen3_training"), {}, True),
    "gemma": (trl_file("gemma"), {"bos_token": "<bos>"}, False),
    "phi": (trl_file("phi3"), {"eos_token": ""}, True),
    "deepseek": (trl_file("deepseekv3"), {"bos_token": "<｜begin▁of▁sentence｜>"}, True),
}
FUNCTIONS = {"vicuna": published.vicuna, "baichuan2": published.baichuan2}
ONE_TURN = {"alpaca": published.alpaca, "chat": published.guanaco}

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(
    lambda text: text.strip() and not set(text) & set("«»<>")
)
CHATS = st.builds(
    lambda system, contents: (
        [{"role": "system", "content": system}]
        + [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]
    ),
    TEXT,
    st.lists(TEXT, min_size=2, max_size=6).filter(lambda contents: len(contents) % 2 == 0),
)


def ours(name: str, messages: list, prompt: bool, tools: list | None = None) -> str:
    """Our template's text, cut behind the last answer as `render_conversation` cuts its ids."""
    texts, spans = render_jinja_template(
        [messages],
        tools=tools,
        chat_template=read_template(name),
        add_generation_prompt=prompt,
        return_assistant_tokens_mask=True,
    )
    return texts[0] if prompt else texts[0][: spans[0][-1][1]]


@pytest.mark.parametrize("name", sorted(JINJA))
@given(chat=CHATS, with_system=st.booleans())
@settings(max_examples=15, deadline=None)
def test_equal_to_the_published_template(name: str, chat: list, with_system: bool) -> None:
    source, tokens, knows_system = JINJA[name]
    chat = chat if with_system and knows_system else chat[1:]
    theirs = published_text(source, chat, False, **tokens)
    assert ours(name, chat, False) == (theirs + "<|user|>" if name == "chatglm3" else theirs.rstrip("\n"))
    if name != "deepseek":  # TRL's copy is of the reasoning model, whose prompt ends with <think>
        assert ours(name, chat[:-1], True) == published_text(source, chat[:-1], True, **tokens)


@pytest.mark.parametrize("name", sorted(FUNCTIONS | ONE_TURN))
@given(chat=CHATS)
@settings(max_examples=15, deadline=None)
def test_equal_to_the_published_code(name: str, chat: list) -> None:
    theirs = (FUNCTIONS | ONE_TURN)[name]
    chat = chat if name in FUNCTIONS else chat[1:3]
    assert ours(name, chat, False) == theirs(chat, False)
    assert ours(name, chat[:-1], True) == theirs(chat[:-1], True)


@given(chat=CHATS)
@settings(max_examples=15, deadline=None)
def test_a_gemma_system_prompt_is_that_of_gemma3(chat: list) -> None:
    theirs = published_text(trl_file("gemma3"), chat, True, bos_token="<bos>")
    assert ours("gemma", chat, True) == theirs


@given(chat=CHATS.map(lambda chat: chat[:3]))
@settings(max_examples=15, deadline=None)
def test_qwen3_thinking_on_and_off(chat: list) -> None:
    theirs = published_text(trl_file("qwen3"), chat[:2], True)
    assert ours("qwen3", chat[:2], True) == theirs
    without = render_jinja_template(
        [chat[:2]], chat_template=trl_file("qwen3"), add_generation_prompt=True, enable_thinking=False
    )[0][0]
    assert ours("qwen3_no_thinking", chat[:2], True) == without
    thoughtful = [*chat[:2], {"role": "assistant", "content": "<think>\nwell\n</think>\n\nfine"}]
    assert ours("qwen3", thoughtful, False) == published_text(trl_file("qwen3"), thoughtful, False).rstrip("\n")


@pytest.mark.parametrize(
    ("name", "file", "tokens"),
    [
        ("qwen", "qwen2_5", {}),
        ("qwen3", "qwen3_training", {}),
        ("llama3", "llama3_1", {"bos_token": "<|begin_of_text|>"}),
    ],
)
@pytest.mark.parametrize("with_system", [True, False])
def test_tools_equal_the_published_template(name: str, file: str, tokens: dict, with_system: bool) -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": "é"}}}
    chat = [
        *([{"role": "system", "content": "Be kind."}] if with_system else []),
        {"role": "user", "content": "Sum?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "It is 2."},
    ]
    theirs = published_text(trl_file(file), chat, False, TOOLS, **tokens)
    assert ours(name, chat, False, TOOLS) == theirs.rstrip("\n")
    assert ours(name, chat[:-1], True, TOOLS) == published_text(trl_file(file), chat[:-1], True, TOOLS, **tokens)


def test_two_calls_and_observations_share_a_turn(tokenizer_of) -> None:
    calls = json.dumps([{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}])
    chat = [
        {"role": "user", "content": "Both"},
        {"role": "function_call", "content": calls},
        {"role": "observation", "content": "1"},
        {"role": "observation", "content": "2"},
        {"role": "assistant", "content": "Done"},
    ]
    text = tokenizer_of("qwen").decode(render_conversation(tokenizer_of("qwen"), chat).input_ids)
    functions = [{"type": "function", "function": {"name": name, "arguments": {}}} for name in "fg"]
    theirs = [
        chat[0],
        {"role": "assistant", "content": "", "tool_calls": functions},
        *({"role": "tool", "content": content} for content in "12"),
        chat[-1],
    ]
    assert text == published_text(trl_file("qwen2_5"), theirs, False).rstrip("\n")


@pytest.mark.parametrize("kind", ["sentencepiece_unigram", "sentencepiece_bpe"])
@pytest.mark.parametrize("name", ["llama2", "deepseek", "chatglm3"])
def test_a_trained_tokenizer_knows_the_templates_tokens(tmp_path, general_shards, kind: str, name: str) -> None:
    made = make_tokenizer(general_shards, sentencepiece_params(kind, chat_template=name)).tokenizer
    save_tokenizer(made, tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    facts = facts_of(find_template(name))
    assert tokenizer.eos_token == facts.end_of_turn
    for token in facts.special_tokens:
        assert tokenizer.encode(token, add_special_tokens=False) == [tokenizer.convert_tokens_to_ids(token)]
    chat = render_conversation(tokenizer, CHAT)
    text = GOLDEN[name].replace("«", "").replace("»", "")
    assert tokenizer.decode(chat.input_ids) == text.replace("▁", " ")  # how SentencePiece writes blanks
    assert chat.input_ids[-1] == tokenizer.eos_token_id


def test_a_template_of_ones_own_is_a_file(tmp_path, tokenizer_of) -> None:
    own = tmp_path / "own.jinja"
    own.write_text(
        '{#- forgeline {"end_of_turn": "<stop>", "special_tokens": ["<stop>"], "roles": ["user", "assistant"]} -#}\n'
        "{% for m in messages %}{{ m.role[0] + '>' }}{% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content + '<stop>' }}{% endgeneration %}{% else %}{{ m.content + ' ' }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}a>{% endif %}"
    )
    tokenizer = tokenizer_of(str(own))
    assert marked(tokenizer, render_conversation(tokenizer, CHAT[1:])) == "u>Hi a>«Yo!<stop>»u>Bye a>«Ciao<stop>»"
    with pytest.raises(DataError, match="no role 'system', only user, assistant"):
        render_conversation(tokenizer, CHAT)


def test_bad_templates_are_refused(tmp_path) -> None:
    bad = tmp_path / "bad.jinja"
    for text, message in (
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "does not mark what the assistant says"),
        ("a\n{% for m in messages %}", "line 2: .*correct the template"),
        ('{#- forgeline {"stop": 1} -#}', "first comment is not understood"),
    ):
        bad.write_text(text)
        with pytest.raises(ParamsError, match=message):
            read_template(str(bad))
    with pytest.raises(ParamsError, match=r"'nope' is not one of alpaca, baichuan2.*zephyr, nor a .jinja file"):
        read_template("nope")


def test_what_a_template_cannot_render_is_an_error(tokenizer_of) -> None:
    with pytest.raises(DataError, match=r"cannot render function calls: set tokenizer.chat_template to one that can"):
        render_conversation(tokenizer_of("forgeline"), CALL)
    with pytest.raises(DataError, match="no place for tool definitions"):
        render_conversation(tokenizer_of("deepseek"), CHAT, json.dumps(TOOLS))
    with pytest.raises(DataError, match="must take turns"):
        render_conversation(tokenizer_of("llama2"), [CHAT[1], CHAT[1], CHAT[2]])
    with pytest.raises(DataError, match="not JSON: 'add'"):
        render_conversation(tokenizer_of("qwen"), [CALL[0], {"role": "function_call", "content": "add"}])


def test_another_template_than_trained_with_is_refused_unless_forced(tmp_path, tokenizer_of, monkeypatch) -> None:
    save_tokenizer(tokenizer_of("chatml"), tmp_path)
    write_json(tmp_path / "lineage.json", {"chat_template": sha256_path(tmp_path / TEMPLATE_FILE)})
    load_tokenizer(tmp_path)
    (tmp_path / TEMPLATE_FILE).write_text(read_template("plain"))
    with pytest.raises(FingerprintError, match=r"trained with chat template [0-9a-f]{16}.*has [0-9a-f]{16}.*FORGELINE"):
        load_tokenizer(tmp_path)
    monkeypatch.setenv("FORGELINE_CHAT_TEMPLATE", "force")
    assert load_tokenizer(tmp_path).get_chat_template() == read_template("plain")


def test_the_documented_examples_are_what_is_rendered() -> None:
    page = Path("docs/templates.md").read_text(encoding="utf-8")
    for name, text in GOLDEN.items():
        assert f"### {name}\n\n```text\n{text}\n```" in page
    for text in GOLDEN_CALLS.values():
        assert f"```text\n{text}\n```" in page
