"""What the `register` stage may be told. Imports neither torch nor MLflow."""

import re

from pydantic import Field, field_validator

from forgeline.core.params import Section


class RegisterParams(Section):
    """Section `register`.

    Attributes:
        name: Prefix of the registered models: the model `sft` becomes `<name>-sft`.
        alias: Alias that is moved to the newest version.
        models: Folders under `models/` to register.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    alias: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")
    models: list[str] = Field(min_length=1)

    @field_validator("alias")
    @classmethod
    def _not_reserved(cls, alias: str) -> str:
        if alias == "latest" or re.fullmatch(r"v\d+", alias):
            raise ValueError(f"MLflow reserves the alias '{alias}': choose another, `candidate` for instance")
        return alias
