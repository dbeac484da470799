"""Parameters of the `merge` stage (section `merge`)."""

from pydantic import NonNegativeFloat, PositiveInt

from forgeline.core.params import Section


class MergeParams(Section):
    """How exact a merge must be.

    Attributes:
        max_logit_difference: Largest |Δlogit| allowed between the model with its adapter and the merged weights.
        num_probe_windows: Validation windows it is measured on.
    """

    max_logit_difference: NonNegativeFloat
    num_probe_windows: PositiveInt
