"""The tokenizer of a model folder as GGUF keeps it: tokens, their types, merges, special ids, chat template."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, TokenType
from transformers import PreTrainedTokenizerBase

from forgeline.core.errors import DataError
from forgeline.core.storage import read_json

TOKENIZER_FILE = "tokenizer.json"
_GENERATION_MARK = re.compile(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}")


@dataclass(frozen=True)
class GgufTokenizer:
    """A byte-level BPE in GGUF's terms.

    Attributes:
        pre: llama.cpp's name of the way texts are split before merging.
        tokens: By id; ids that the model has and the tokenizer has not are filled up.
        types: Of each token.
        merges: In order of rank, two pieces with a blank between them.
    """

    pre: str
    tokens: list[str]
    types: list[TokenType]
    merges: list[str]


def gguf_tokenizer(folder: Path, vocab_size: int) -> GgufTokenizer:
    """The tokenizer in a model folder, for a model of `vocab_size` tokens.

    Raises:
        DataError: It is of a kind that llama.cpp cannot be told about.
    """
    values = read_json(folder / TOKENIZER_FILE)
    model = values["model"]
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise _refusal(folder, f"its model is {model.get('type')}, and only byte-level BPE can be written")
    if values.get("normalizer") is not None:
        raise _refusal(folder, "it normalizes text, which llama.cpp's byte-level BPE does not")
    pre = _pre_tokenizer(values.get("pre_tokenizer"))
    if pre is None:
        raise _refusal(folder, "llama.cpp has no name for the way it splits texts")
    ids: dict[str, int] = dict(model["vocab"])
    kinds = {name: TokenType.NORMAL for name in ids}
    for added in values.get("added_tokens", []):
        ids[added["content"]] = added["id"]
        kinds[added["content"]] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    by_id = {number: name for name, number in ids.items()}
    tokens = [by_id.get(number, f"[PAD{number}]") for number in range(vocab_size)]
    merges = [" ".join(merge) if isinstance(merge, list) else merge for merge in model["merges"]]
    return GgufTokenizer(pre, tokens, [kinds.get(name, TokenType.UNUSED) for name in tokens], merges)


def add_tokenizer(writer: GGUFWriter, written: GgufTokenizer, tokenizer: PreTrainedTokenizerBase) -> None:
    """Puts a tokenizer into the file's metadata."""
    writer.add_tokenizer_model("gpt2")  # GGUF's word for byte-level BPE
    writer.add_tokenizer_pre(written.pre)
    writer.add_token_list(written.tokens)
    writer.add_token_types(written.types)
    writer.add_token_merges(written.merges)
    for add, number in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if number is not None:
            add(number)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    if tokenizer.chat_template:
        # Marks of what is trained on, which llama.cpp does not know; a comment trims blanks just like them.
        writer.add_chat_template(_GENERATION_MARK.sub(r"{#\1 \2#}", tokenizer.get_chat_template()))


def _pre_tokenizer(splitter: Any) -> str | None:
    """llama.cpp's name: `gpt-2` for GPT-2's regular expression, `smollm` where digits are parted first."""
    gpt2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    if splitter is None:
        return None
    parts = splitter["pretokenizers"] if splitter.get("type") == "Sequence" else [splitter]
    parts = [{**part, "trim_offsets": True} if part.get("type") == "ByteLevel" else part for part in parts]
    known = {json.dumps([gpt2]): "gpt-2", json.dumps([digits, gpt2]): "smollm"}
    return known.get(json.dumps(parts))


def _refusal(folder: Path, reason: str) -> DataError:
    return DataError(f"{folder} cannot be written as GGUF: {reason}: use the folder itself, or vLLM or transformers")
