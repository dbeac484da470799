"""What the `report` stage may be told."""

from pydantic import Field

from forgeline.core.params import Section


class ReportParams(Section):
    """Section `report`.

    Attributes:
        max_samples_per_task: Questions of each task that the page holds with every model's answer, chosen by the seed.
        max_text_characters: The middle of longer prompts and answers is left out of the page.
        max_page_bytes: Size that the page keeps to by holding fewer samples.
        max_revisions: Experiments and commits whose training curves are drawn over each other, the newest first;
            0 leaves that part out.
        seed: Of the choice and the order of the questions.
    """

    max_samples_per_task: int = Field(ge=0, le=100_000)
    max_text_characters: int = Field(ge=40, le=100_000)
    max_page_bytes: int = Field(ge=100_000, le=50_000_000)
    max_revisions: int = Field(ge=0, le=24)
    seed: int = Field(ge=0)
