"""Taking over a tokenizer that was made elsewhere: all ids stay, the pipeline's roles are filled, what lacks is added.

Models name the same roles differently. The token that this pipeline puts between documents is often called `eos_token`
by base models and does not occur in the settings of chat models, whose `bos_token` may be the start of a turn and whose
`pad_token` the end of one. So the roles are found from the vocabulary, and can be set in params.yaml.
"""

import json
import struct
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from forgeline.core.errors import DataError, ParamsError
from forgeline.tokenization.assembly import Roles, assemble, read_template, save_tokenizer
from forgeline.tokenization.extension import Extension
from forgeline.tokenization.fingerprint import tokenizer_fingerprint
from forgeline.tokenization.origin import Origin, find_origin
from forgeline.tokenization.params import END_OF_TEXT, PAD, AdoptParams
from forgeline.tokenization.template import END_OF_TURN, facts_of, marks_answers

# What the parsers of transformers stumble over in a file that is not what it says.
_READING_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error)
# What models call the end of a document, tried in this order.
_ENDS_OF_DOCUMENT = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>")
_QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3_WORDS = _QWEN2_WORDS.replace(r"\p{N}|", r"\p{N}{1,3}|")


@dataclass(frozen=True)
class Adoption:
    """An origin's tokenizer with what the pipeline needs added.

    Attributes:
        core: The `tokenizers` object; tokens that were missing come after the origin's own.
        original: The same before anything was added.
        base_vocab_size: Entries of the origin's tokenizer.
        fingerprint: SHA-256 of the origin's tokenizer.json, as `origin_fingerprint` gives it.
        roles: Which token does what.
        chat_template: Jinja source.
        added: Tokens that were missing, in the order of their ids.
        additional: Special tokens that params.yaml names besides those of the roles.
    """

    core: Tokenizer
    original: Tokenizer
    base_vocab_size: int
    fingerprint: str
    roles: Roles
    chat_template: str
    added: list[str]
    additional: list[str]

    def old_ids(self, text: str) -> list[int]:
        """The origin's ids of the text that a new entry stands for."""
        return list(self.original.encode(text, add_special_tokens=False).ids)

    def finished(self, core: Tokenizer) -> PreTrainedTokenizerFast:
        """`core`, which is `self.core` or has more entries, with the roles and the template."""
        return assemble(core, self.roles, self.chat_template, self.additional)


def adopt_tokenizer(params: AdoptParams) -> tuple[PreTrainedTokenizerFast, Extension]:
    """The origin's tokenizer with the roles of the pipeline, and what had to be added for them.

    Raises:
        ParamsError: A knob names a token or template that is not there.
        DataError: The origin holds no tokenizer, or none that can be used.
    """
    adoption = begin_adoption(params)
    pieces = [adoption.old_ids(token) for token in adoption.added]
    return adoption.finished(adoption.core), Extension(adoption.fingerprint, adoption.base_vocab_size, pieces)


def origin_fingerprint(origin: Origin) -> str:
    """SHA-256 of tokenizer.json as the origin's tokenizer is saved right after loading.

    Raises:
        DataError: The origin holds no tokenizer that can be used.
    """
    return _fingerprint(load_origin_tokenizer(origin))


def load_origin_tokenizer(origin: Origin) -> PreTrainedTokenizerFast:
    """The origin's tokenizer as it is.

    Raises:
        DataError: The origin holds no tokenizer, or none that the `tokenizers` library can run.
    """
    name = origin.folder if origin.gguf_file is None else origin.folder / origin.gguf_file
    try:
        loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(origin.folder), **origin.arguments)
    except _READING_ERRORS as error:
        problem = str(error).partition("\n")[0]
        raise DataError(f"{name} holds no tokenizer that can be read ({problem}): choose another origin") from None
    if not isinstance(loaded, PreTrainedTokenizerFast):
        raise DataError(f"{name} has no fast tokenizer: choose an origin that holds a tokenizer.json")
    if origin.gguf_file is not None:
        split_as_gguf_says(loaded.backend_tokenizer, origin.folder / origin.gguf_file)
    return loaded


def begin_adoption(params: AdoptParams) -> Adoption:
    """Loads the origin's tokenizer, finds its roles and adds the tokens that are missing.

    Raises:
        ParamsError: A knob names a token or template that is not there.
        DataError: The origin holds no tokenizer, or none that can be used.
    """
    loaded = load_origin_tokenizer(find_origin(params.origin, "tokenizer.origin"))
    original: Tokenizer = loaded.backend_tokenizer
    vocabulary = original.get_vocab(with_added_tokens=True)
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise DataError(f"tokenizer.origin: the ids of {params.origin} have gaps, which cannot be kept: choose another")
    chat_template = _chat_template(params, loaded)
    roles = _find_roles(params, loaded, vocabulary)
    turns = [] if params.chat_template is None else facts_of(chat_template).special_tokens
    needed = [roles.end_of_document, roles.pad, *turns, roles.end_of_turn, *params.additional_special_tokens]
    added = [token for token in dict.fromkeys(needed) if token not in vocabulary]
    core = plain_copy(original)
    core.add_special_tokens([AddedToken(token, normalized=False) for token in dict.fromkeys(needed)])
    own = [str(token) for token in loaded.all_special_tokens]
    used = {roles.end_of_document, roles.end_of_turn, roles.pad, roles.unknown}
    additional = [token for token in dict.fromkeys([*own, *needed]) if token not in used]
    return Adoption(
        core, plain_copy(original), len(vocabulary), _fingerprint(loaded), roles, chat_template, added, additional
    )


def plain_copy(core: Tokenizer) -> Tokenizer:
    """A copy that adds nothing to a text, cuts nothing off and pads nothing: stages do all that themselves."""
    content = json.loads(core.to_str())
    return Tokenizer.from_str(json.dumps({**content, "post_processor": None, "truncation": None, "padding": None}))


def _fingerprint(tokenizer: PreTrainedTokenizerFast) -> str:
    with tempfile.TemporaryDirectory() as folder:
        save_tokenizer(tokenizer, Path(folder))
        return tokenizer_fingerprint(Path(folder))


def _chat_template(params: AdoptParams, loaded: PreTrainedTokenizerFast) -> str:
    if params.chat_template is not None:
        return read_template(params.chat_template)
    template = loaded.chat_template
    if not isinstance(template, str):
        raise ParamsError(
            f"params.yaml: tokenizer.chat_template is null, but {params.origin} has no single template: name one of "
            "src/forgeline/tokenization/templates, `forgeline` for instance"
        )
    if not marks_answers(template):
        raise ParamsError(
            f"params.yaml: tokenizer.chat_template is null, but the template of {params.origin} does not mark what the "
            "assistant says ({% generation %}), so nothing could be learned from chats: name one of "
            "src/forgeline/tokenization/templates, `forgeline` for instance"
        )
    return template


def _find_roles(params: AdoptParams, loaded: PreTrainedTokenizerFast, vocabulary: dict[str, int]) -> Roles:
    for knob, token in (("end_of_document", params.end_of_document), ("end_of_turn", params.end_of_turn)):
        if token is not None and token not in vocabulary and token not in params.additional_special_tokens:
            raise ParamsError(
                f"params.yaml: tokenizer.{knob} {token} is no token of {params.origin}: correct it, or set it to null"
            )
    end_of_turn = params.end_of_turn
    if end_of_turn is None and params.chat_template is not None:
        end_of_turn = facts_of(read_template(params.chat_template)).end_of_turn
    elif end_of_turn is None:  # the origin's template does not say it, but by eos_token the origin does
        end_of_turn = str(loaded.eos_token) if loaded.eos_token else END_OF_TURN
    candidates: Iterable[str | None] = (params.end_of_document, *_ENDS_OF_DOCUMENT, loaded.eos_token)
    known = [token for token in candidates if token in vocabulary and token != end_of_turn]
    end_of_document = str(known[0]) if known else END_OF_TEXT
    used = (end_of_document, end_of_turn, loaded.unk_token)
    pad = PAD if loaded.pad_token is None or loaded.pad_token in used else str(loaded.pad_token)
    return Roles(end_of_document, end_of_turn, pad, _unknown_token(json.loads(loaded.backend_tokenizer.to_str())))


def _unknown_token(description: dict[str, Any]) -> str | None:
    """What the model itself writes for text it cannot express; settings often name a token that it never writes."""
    model = description["model"]
    if model["type"] == "Unigram":
        return None if model["unk_id"] is None else str(model["vocab"][model["unk_id"]][0])
    unknown = model.get("unk_token")
    return None if unknown is None else str(unknown)


def split_as_gguf_says(core: Tokenizer, file: Path) -> None:
    """Splits text into words as the model was trained; transformers splits all byte-level BPE of GGUF files like GPT-2.

    Raises:
        DataError: The file names a way of splitting that is not known here.
    """
    from transformers.integrations.gguf.reader import read_gguf_metadata  # here: no other kind of origin needs it

    metadata, _ = read_gguf_metadata(str(file))
    model, way = (metadata.get(field) for field in _GGUF_FIELDS)
    if model != "gpt2":
        return
    if way not in _GGUF_WORDS:
        raise DataError(
            f"{file} splits words as {way!r}, which is not one of {', '.join(_GGUF_WORDS)}: choose a folder of the "
            "same model that holds a tokenizer.json"
        )
    core.pre_tokenizer = pre_tokenizers.Sequence(list(_GGUF_WORDS[way])) if way != "gpt-2" else _GPT2_WORDS
    if way == "qwen2":
        core.normalizer = normalizers.NFC()


_GGUF_FIELDS = ("tokenizer.ggml.model", "tokenizer.ggml.pre")
_GPT2_WORDS = pre_tokenizers.ByteLevel(add_prefix_space=False)
_BYTES_ONLY = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
# By the names that llama.cpp gives them.
_GGUF_WORDS: dict[str, Sequence[Any]] = {
    "gpt-2": (_GPT2_WORDS,),
    "smollm": (pre_tokenizers.Digits(individual_digits=True), _GPT2_WORDS),
    "qwen2": (pre_tokenizers.Split(Regex(_QWEN2_WORDS), "isolated"), _BYTES_ONLY),
    "llama-bpe": (
        pre_tokenizers.Split(Regex(_LLAMA3_WORDS), "isolated"),
        _BYTES_ONLY,
    ),
}
