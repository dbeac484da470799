"""Section `align`: by name, adapters that learn from preference pairs, each by one of the methods."""

from typing import Annotated

from pydantic import Field, RootModel

from forgeline.training.params.dpo import DpoParams
from forgeline.training.params.kto import KtoParams
from forgeline.training.params.orpo import OrpoParams

AnyAlignParams = DpoParams | OrpoParams | KtoParams


class AlignParams(RootModel[Annotated[AnyAlignParams, Field(discriminator="method")]]):
    """Section `align.<name>`: one of the methods, which is `root`."""
