import json
import shutil
from pathlib import Path

import pytest
from tests.unit.tokenization.tokenizer_params import adopt_params, smollm2_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.storage import sha256_path
from forgeline.tokenization.adopt import (
    adopt_tokenizer,
    load_origin_tokenizer,
    origin_fingerprint,
    split_as_gguf_says,
)
from forgeline.tokenization.chat import render_conversation, stop_token_ids
from forgeline.tokenization.extension import Extension, read_extension
from forgeline.tokenization.loading import load_tokenizer
from forgeline.tokenization.origin import find_origin
from forgeline.tokenization.train import make_tokenizer

CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2's tokenizer as the stage adopts and saves it."""
    folder = tmp_path_factory.mktemp("smollm2")
    make_tokenizer([], adopt_params(smollm2_file())).save(folder)
    return folder


@pytest.mark.slow
def test_smollm2_keeps_its_ids_and_gets_the_roles_of_the_pipeline(smollm2: Path) -> None:
    adopted = load_tokenizer(smollm2)
    # Its own settings call <|im_start|> bos_token and <|im_end|> both eos_token and pad_token.
    roles = (adopted.bos_token, adopted.eos_token, adopted.pad_token)
    assert roles == ("<|endoftext|>", "<|im_end|>", "<|pad|>")
    assert (adopted.bos_token_id, adopted.eos_token_id, adopted.pad_token_id) == (0, 2, 49_152)
    assert stop_token_ids(adopted) == [0, 2]
    assert adopted.unk_token is None  # its settings name one that its model never writes
    assert len(adopted) == 49_153
    original = AutoTokenizer.from_pretrained(str(smollm2_file().parent), gguf_file=smollm2_file().name)
    text = "Hello there, naïve 東京.\n\nHyperlipidaemia\tand <|im_end|>"
    assert adopted.encode(text, add_special_tokens=False) == original.encode(text, add_special_tokens=False)
    assert adopted.encode(text) == adopted.encode(text, add_special_tokens=False)


@pytest.mark.slow
def test_smollm2s_words_are_those_it_was_trained_with(smollm2: Path) -> None:
    adopted = load_tokenizer(smollm2)
    # As llama.cpp divides them: digits first. transformers reads the file as GPT-2's and would join a blank to them.
    expected = {
        "a  1 b": ["a", "ĠĠ", "1", "Ġb"],
        "x   12\n\n 7": ["x", "ĠĠĠ", "1", "2", "ĊĊĠ", "7"],
    }
    for text, tokens in expected.items():
        assert adopted.tokenize(text) == tokens


@pytest.mark.slow
def test_what_was_added_is_told_with_the_ids_it_begins_from(smollm2: Path) -> None:
    extension = read_extension(smollm2)
    assert extension is not None
    original = load_origin_tokenizer(find_origin(str(smollm2_file()), "tokenizer.origin"))
    pieces = original.encode("<|pad|>", add_special_tokens=False)
    assert extension == Extension(origin_fingerprint(find_origin(str(smollm2_file()), "x")), 49_152, [pieces])
    assert original.decode(pieces) == "<|pad|>"


@pytest.mark.slow
def test_smollm2s_chats_read_like_its_own(smollm2: Path) -> None:
    adopted = load_tokenizer(smollm2)
    chat = render_conversation(adopted, CHAT)
    tokens = adopted.convert_ids_to_tokens(chat.input_ids)
    assert tokens == [
        *["<|im_start|>", "user", "Ċ", "Hi", "<|im_end|>", "Ċ"],
        *["<|im_start|>", "ass", "istant", "Ċ", "Yes", "<|im_end|>"],
    ]
    assert chat.assistant_mask == [0] * 10 + [1, 1]


def test_the_origins_fingerprint_is_that_of_its_saved_tokenizer(origins, tmp_path: Path) -> None:
    origin = find_origin(str(origins["byte_bpe"]), "tokenizer.origin")
    AutoTokenizer.from_pretrained(str(origins["byte_bpe"])).save_pretrained(tmp_path)
    assert origin_fingerprint(origin) == sha256_path(tmp_path / "tokenizer.json")


def test_our_own_tokenizer_needs_nothing_and_keeps_its_template(origins) -> None:
    tokenizer, extension = adopt_tokenizer(adopt_params(origins["sentencepiece_unigram"], chat_template=None))
    assert extension.pieces == []
    assert extension.base_vocab_size == len(tokenizer) == 500
    original = load_tokenizer(origins["sentencepiece_unigram"])
    assert tokenizer.get_chat_template() == original.get_chat_template()
    assert tokenizer.special_tokens_map == original.special_tokens_map


def test_a_llama_like_tokenizer_gets_what_it_lacks(llama2_like: Path, tmp_path: Path) -> None:
    made = make_tokenizer([], adopt_params(llama2_like, additional_special_tokens=["<|tool|>"]))
    assert made.added_special_tokens == made.added_tokens == ["<|pad|>", "<|im_start|>", "<|im_end|>", "<|tool|>"]
    assert made.roles == {"end_of_document": "</s>", "end_of_turn": "<|im_end|>", "pad": "<|pad|>"}
    made.save(tmp_path)
    loaded, original = load_tokenizer(tmp_path), load_origin_tokenizer(find_origin(str(llama2_like), "x"))
    assert loaded.convert_tokens_to_ids(made.added_tokens) == [500, 501, 502, 503]
    assert loaded.unk_token == "<unk>"
    text = "Hello there,  two blanks"
    assert loaded.encode(text, add_special_tokens=False) == original.encode(text, add_special_tokens=False)
    assert loaded.decode(loaded.encode(text)) == text


def test_roles_can_be_set(llama2_like: Path) -> None:
    params = adopt_params(llama2_like, end_of_document="<s>", end_of_turn="</s>")
    tokenizer, _ = adopt_tokenizer(params)
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<s>", "</s>")
    with pytest.raises(ParamsError, match=r"tokenizer\.end_of_document <\|eod\|> is no token of "):
        adopt_tokenizer(adopt_params(llama2_like, end_of_document="<|eod|>"))


def test_a_template_without_marks_is_explained(origins, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(origins["byte_bpe"], tmp_path / "unmarked"))
    plain = "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
    (folder / "chat_template.jinja").write_text(plain)
    with pytest.raises(ParamsError, match=r"does not mark what the assistant says \(\{% generation %\}\)"):
        adopt_tokenizer(adopt_params(folder, chat_template=None))


def test_a_tokenizer_without_a_template_is_explained(llama2_like: Path) -> None:
    with pytest.raises(ParamsError, match=r"chat_template is null, but .* has no single template: name one"):
        adopt_tokenizer(adopt_params(llama2_like, chat_template=None))


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(DataError, match=rf"{tmp_path} holds no tokenizer that can be read .*choose another origin"):
        adopt_tokenizer(adopt_params(tmp_path))


@pytest.mark.parametrize("content", ["", "{}", '{"version": "1.0", "model": {"type": "BPE"}}'])
def test_a_damaged_tokenizer_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(DataError, match=r"holds no tokenizer"):
        adopt_tokenizer(adopt_params(tmp_path))


def test_a_damaged_gguf_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF, but not really")
    with pytest.raises(DataError, match=r"model\.gguf holds no tokenizer"):
        adopt_tokenizer(adopt_params(tmp_path / "model.gguf"))


def test_a_hub_id_without_a_network_says_how_to_go_on() -> None:
    with pytest.raises(DataError, match=r"tokenizer\.origin: .*the hub cannot be reached.*hf download"):
        adopt_tokenizer(adopt_params("forgeline-tests/none@" + "0" * 40))


def test_ids_with_gaps_are_refused(origins, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(origins["byte_bpe"], tmp_path / "gaps"))
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"]["zzz"] = 5000
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="have gaps"):
        adopt_tokenizer(adopt_params(folder))


def test_word_levels_are_adopted_too(tmp_path: Path) -> None:
    core = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    made = make_tokenizer([], adopt_params(tmp_path))
    assert made.roles == {"end_of_document": "<|endoftext|>", "end_of_turn": "<|im_end|>", "pad": "<|pad|>"}
    assert made.tokenizer.encode("a c b") == [1, 0, 2]
    assert made.tokenizer.unk_token_id == 0


@pytest.mark.parametrize("way", ["gpt-2", "qwen2", "llama-bpe", "smollm"])
def test_every_known_way_of_splitting_keeps_the_text(way: str, origins, monkeypatch: pytest.MonkeyPatch) -> None:
    core = named_way(way, origins, monkeypatch)
    text = "It's 12345  blanks\n\n naïve 東京\tend "
    assert core.decode(core.encode(text).ids) == text
    digits = [len(part) for part, _ in core.pre_tokenizer.pre_tokenize_str("12345")]
    assert digits == {"gpt-2": [5], "qwen2": [1] * 5, "llama-bpe": [3, 2], "smollm": [1] * 5}[way]


def test_an_unknown_way_of_splitting_is_refused(origins, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"splits words as 'viking', which is not one of gpt-2, smollm, qwen2"):
        named_way("viking", origins, monkeypatch)


def named_way(way: str, origins: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Tokenizer:
    """A byte-level tokenizer as read from a GGUF file that names this way of splitting."""
    metadata = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": way}
    monkeypatch.setattr("transformers.integrations.gguf.reader.read_gguf_metadata", lambda path: (metadata, ()))
    core = Tokenizer.from_file(str(origins["byte_bpe"] / "tokenizer.json"))
    split_as_gguf_says(core, Path("model.gguf"))
    return core
