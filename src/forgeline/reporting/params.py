"""What the `report` stage may be told."""

from pydantic import Field

from forgeline.core.params import Section


class ReportParams(Section):
    """Section `report`.

    Attributes:
        samples_per_task: Questions of each task that the report shows with every model's answer.
        seed: Of the choice of those questions.
    """

    samples_per_task: int = Field(ge=0, le=200)
    seed: int = Field(ge=0)
