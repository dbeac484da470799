"""Parameters of the tokenizer."""

from pydantic import Field

from forgeline.core.params import Section

# Ids are fixed by this order, so every stage and every vocabulary size agrees on them.
END_OF_TEXT = "<|endoftext|>"
PAD = "<|pad|>"
START_OF_TURN = "<|im_start|>"
END_OF_TURN = "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, PAD, START_OF_TURN, END_OF_TURN)
NUM_BYTES = 256


class TokenizerParams(Section):
    """Section `tokenizer`.

    Attributes:
        vocab_size: Entries including the 256 bytes and the special tokens.
        min_frequency: How often a pair must occur to be merged.
        chat_template: Name of a file in `tokenization/templates`.
    """

    vocab_size: int = Field(ge=NUM_BYTES + len(SPECIAL_TOKENS))
    min_frequency: int = Field(ge=1)
    chat_template: str
