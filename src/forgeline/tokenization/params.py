"""Parameters of the tokenizer: a choice by `kind`, each with knobs of its own. docs/tokenizers.md compares them."""

from typing import Annotated, Literal, Self

from pydantic import Field, RootModel, model_validator

from forgeline.core.params import Section
from forgeline.tokenization.template import END_OF_TURN, START_OF_TURN, facts_of, find_template

# Ids are fixed by this order, so every stage and every vocabulary size agrees on them.
END_OF_TEXT = "<|endoftext|>"
PAD = "<|pad|>"
SPECIAL_TOKENS = (END_OF_TEXT, PAD, START_OF_TURN, END_OF_TURN)
NUM_BYTES = 256

Normalization = Literal["none", "nfc", "nfkc"]
# Neither white space, which no one would see, nor a comma, which separates them for SentencePiece.
SpecialToken = Annotated[str, Field(pattern=r"^[^\s,]+$")]


class _Common(Section):
    additional_special_tokens: list[SpecialToken]
    chat_template: str | None

    @property
    def template_tokens(self) -> tuple[str, ...]:
        """Special tokens of the chat template that the pipeline does not have anyway, in its order."""
        if self.chat_template is None:
            return ()
        tokens = facts_of(find_template(self.chat_template)).special_tokens
        return tuple(token for token in tokens if token not in SPECIAL_TOKENS)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        tokens = [*SPECIAL_TOKENS, *self.template_tokens, *self.additional_special_tokens]
        twice = sorted({token for token in tokens if tokens.count(token) > 1})
        if twice:
            raise ValueError(f"additional_special_tokens names {', '.join(twice)} twice, or one that is there anyway")
        return self


class _Trained(_Common):
    vocab_size: int = Field(ge=2)
    normalization: Normalization
    split_digits: bool
    chat_template: str

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """All special tokens, in the order of their ids; those of the pipeline have 0 to 3."""
        return (*SPECIAL_TOKENS, *self.other_special_tokens)

    @property
    def other_special_tokens(self) -> tuple[str, ...]:
        """Those of the chat template and those that params.yaml names."""
        return (*self.template_tokens, *self.additional_special_tokens)


class ByteBpeParams(_Trained):
    """Byte-level BPE (Sennrich et al. 2016; bytes as in GPT-2): no text is unknown.

    Attributes:
        vocab_size: Entries including the 256 bytes and the special tokens.
        min_frequency: How often a pair must occur to be merged.
        normalization: Unicode normal form that text is brought into first.
        split_digits: Whether each digit is a token of its own.
        additional_special_tokens: Special tokens next to the four of the pipeline.
        chat_template: Name of a file in `tokenization/templates`, or path of a .jinja file.
    """

    kind: Literal["byte_bpe"]
    vocab_size: int = Field(ge=NUM_BYTES + len(SPECIAL_TOKENS))
    min_frequency: int = Field(ge=1)

    @model_validator(mode="after")
    def _room_for_bytes(self) -> Self:
        least = NUM_BYTES + len(self.special_tokens)
        if self.vocab_size < least:
            raise ValueError(
                f"vocab_size {self.vocab_size} is less than {NUM_BYTES} bytes and {len(self.special_tokens)} special "
                f"tokens: raise it to {least} or more"
            )
        return self


class _SentencePiece(_Trained):
    character_coverage: float = Field(gt=0.9, le=1)
    byte_fallback: bool


class SentencePieceUnigramParams(_SentencePiece):
    """A unigram language model over pieces (Kudo 2018), trained by SentencePiece.

    Attributes:
        vocab_size: Entries including special tokens and, with `byte_fallback`, the 256 bytes.
        character_coverage: Share of the text's characters that get a piece of their own; the rarest are left out.
        byte_fallback: Whether characters without a piece become bytes; otherwise they are one unknown token.
        normalization: Unicode normal form that text is brought into first.
        split_digits: Whether each digit is a token of its own.
        additional_special_tokens: Special tokens next to the four of the pipeline.
        chat_template: Name of a file in `tokenization/templates`, or path of a .jinja file.
    """

    kind: Literal["sentencepiece_unigram"]


class SentencePieceBpeParams(_SentencePiece):
    """BPE over characters, trained by SentencePiece (Kudo & Richardson 2018).

    Attributes:
        vocab_size: Entries including special tokens and, with `byte_fallback`, the 256 bytes.
        character_coverage: Share of the text's characters that get a piece of their own; the rarest are left out.
        byte_fallback: Whether characters without a piece become bytes; otherwise they are one unknown token.
        normalization: Unicode normal form that text is brought into first.
        split_digits: Whether each digit is a token of its own.
        additional_special_tokens: Special tokens next to the four of the pipeline.
        chat_template: Name of a file in `tokenization/templates`, or path of a .jinja file.
    """

    kind: Literal["sentencepiece_bpe"]


class AdoptParams(_Common):
    """A tokenizer made elsewhere, with all its ids; tokens that the pipeline needs and it lacks are added at the end.

    Attributes:
        origin: Folder, GGUF file or `owner/name@commit`.
        end_of_document: Which of its tokens goes between documents; null finds it.
        end_of_turn: Which of its tokens ends the assistant's turn; null takes that of the chat template.
        additional_special_tokens: Special tokens to add if it lacks them.
        chat_template: Name of a file in `tokenization/templates`, or a .jinja file; null keeps the origin's own.
    """

    kind: Literal["adopt"]
    origin: str
    end_of_document: str | None
    end_of_turn: str | None


class ExtendParams(AdoptParams):
    """An adopted tokenizer with pieces that the corpus needs, after its own ids.

    Attributes:
        origin: Folder, GGUF file or `owner/name@commit`.
        vocab_size: Entries when extended.
        min_frequency: How often a new piece must occur in the corpus, or a word by its list.
        words: File with a word and its frequency on each line, whose words become pieces first; null is no such file.
        end_of_document: Which of its tokens goes between documents; null finds it.
        end_of_turn: Which of its tokens ends the assistant's turn; null takes that of the chat template.
        additional_special_tokens: Special tokens to add if it lacks them.
        chat_template: Name of a file in `tokenization/templates`, or a .jinja file; null keeps the origin's own.
    """

    kind: Literal["extend"]  # type: ignore[assignment]
    vocab_size: int = Field(ge=2)
    min_frequency: int = Field(ge=1)
    words: str | None


SentencePieceParams = SentencePieceUnigramParams | SentencePieceBpeParams
AnyTokenizerParams = ByteBpeParams | SentencePieceUnigramParams | SentencePieceBpeParams | AdoptParams | ExtendParams


class TokenizerParams(RootModel[Annotated[AnyTokenizerParams, Field(discriminator="kind")]]):
    """Section `tokenizer`: one of the kinds, which is `root`."""
