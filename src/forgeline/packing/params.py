"""Parameters of packing."""

from typing import Literal

from pydantic import Field

from forgeline.core.params import Section


class PackParams(Section):
    """Section `pack`.

    Attributes:
        sequence_length: Tokens the model reads at once, and predicts.
        dtype: How a token id is stored; uint16 holds vocabularies up to 65,536.
    """

    sequence_length: int = Field(ge=2)
    dtype: Literal["uint16", "uint32"]
