"""Parameters of a LoRA adapter."""

from pydantic import Field, field_validator

from forgeline.core.params import Section


class LoraParams(Section):
    """W' = W + (alpha / r) B A beside frozen weights (Hu et al. 2021, eq. 3).

    Attributes:
        r: Rank of the update.
        alpha: Its scale, relative to the rank.
        dropout: On the adapter's input.
        target_modules: Names of the linear layers that get one.
    """

    r: int = Field(ge=1)
    alpha: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    target_modules: list[str] = Field(min_length=1)

    @field_validator("target_modules")
    @classmethod
    def _not_the_head(cls, names: list[str]) -> list[str]:
        if "lm_head" in names or "embed_tokens" in names:
            raise ValueError("lm_head and embed_tokens take no adapter here: leave them out")
        if len(set(names)) < len(names):
            raise ValueError("a layer is named twice: leave one out")
        return names
