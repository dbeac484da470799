"""What every kind of tokenizer ends as: a Hugging Face fast tokenizer whose special tokens have roles, in a folder.

`bos_token` is the token between documents, `eos_token` ends the assistant's turn, `pad_token` fills rows. All stages go
by these three. Encoding adds nothing by itself: packing and the chat template put every special token where it belongs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import TemplateError, TemplateSyntaxError
from tokenizers import Tokenizer, normalizers
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

from forgeline.core.errors import ParamsError
from forgeline.tokenization.params import END_OF_TEXT, PAD, Normalization
from forgeline.tokenization.template import END_OF_TURN, facts_of, find_template


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
    """The chat template called `name`, or in the file at this path, found to be usable.

    Raises:
        ParamsError: There is none, it is not Jinja, or it does not mark what the assistant says.
    """
    source = find_template(name)
    facts_of(source)
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    try:
        _, spans = render_jinja_template([chat], chat_template=source, return_assistant_tokens_mask=True)
    except TemplateError as error:
        line = f", line {error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
        raise ParamsError(
            f"params.yaml: tokenizer.chat_template '{name}'{line}: {error.message}: correct the template"
        ) from None
    if not spans[0]:
        raise ParamsError(
            f"params.yaml: tokenizer.chat_template '{name}' does not mark what the assistant says, so nothing could be "
            "learned from chats: put {% generation %} ... {% endgeneration %} around it (docs/templates.md)"
        )
    return source


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes tokenizer.json, tokenizer_config.json and chat_template.jinja."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
