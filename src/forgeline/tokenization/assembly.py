"""What every kind of tokenizer ends as: a Hugging Face fast tokenizer whose special tokens have roles, in a folder.

`bos_token` is the token between documents, `eos_token` ends the assistant's turn, `pad_token` fills rows. All stages go
by these three. Encoding adds nothing by itself: packing and the chat template put every special token where it belongs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from tokenizers import Tokenizer, normalizers
from transformers import PreTrainedTokenizerFast

from forgeline.core.errors import ParamsError
from forgeline.tokenization.params import END_OF_TEXT, END_OF_TURN, PAD, Normalization


@dataclass(frozen=True)
class Roles:
    """Which token goes between documents, which ends a turn, which fills rows, and which stands for unknown text."""

    end_of_document: str = END_OF_TEXT
    end_of_turn: str = END_OF_TURN
    pad: str = PAD
    unknown: str | None = None


def assemble(
    core: Tokenizer, roles: Roles, chat_template: str, additional: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """The tokenizer as transformers knows it.

    Args:
        core: Of the `tokenizers` library, with all special tokens in it.
        roles: What they are for.
        chat_template: Jinja source.
        additional: Special tokens that have none of these roles.
    """
    unknown = {} if roles.unknown is None else {"unk_token": roles.unknown}
    others = {"extra_special_tokens": list(additional)} if additional else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=roles.end_of_document,
        eos_token=roles.end_of_turn,
        pad_token=roles.pad,
        chat_template=chat_template,
        clean_up_tokenization_spaces=False,
        **unknown,
        **others,
    )


def unicode_normalizer(form: Normalization) -> normalizers.Normalizer | None:
    """The library's normalizer to a Unicode normal form, or None when text is to stay as it is."""
    return {"none": None, "nfc": normalizers.NFC(), "nfkc": normalizers.NFKC()}[form]


def read_template(name: str) -> str:
    """The chat template called `name`.

    Raises:
        ParamsError: There is none; the message lists those there are.
    """
    folder = resources.files("forgeline.tokenization.templates")
    known = sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".jinja"))
    if name not in known:
        raise ParamsError(f"params.yaml: tokenizer.chat_template '{name}' is not one of {', '.join(known)}")
    return (folder / f"{name}.jinja").read_text(encoding="utf-8").rstrip("\n")


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes tokenizer.json, tokenizer_config.json and chat_template.jinja."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
