"""Parameters of the `merge` stage (section `merge`)."""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from forgeline.core.params import Section


class MergeGateParams(Section):
    """How exact a merge must be (section `merge.gate`).

    Attributes:
        max_logit_difference: Largest |Δlogit| allowed between the model with its adapter and the merged weights.
        num_windows: Validation windows it is measured on.
    """

    max_logit_difference: NonNegativeFloat
    num_windows: PositiveInt


class MergeParams(Section):
    """What is merged, and how exact that must be.

    Attributes:
        models: Names; the adapter in `models/<name>_adapter` becomes plain weights in `models/<name>`.
        gate: How exact.
    """

    models: Annotated[list[str], Field(min_length=1)]
    gate: MergeGateParams

    @model_validator(mode="after")
    def _models_are_unique(self) -> "MergeParams":
        if len(set(self.models)) != len(self.models):
            raise ValueError(f"models names one twice ({', '.join(self.models)}): name each once")
        return self
