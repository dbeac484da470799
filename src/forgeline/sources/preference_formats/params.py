"""Parameters of preference files."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from forgeline.core.params import Section

Text = Annotated[str, StringConstraints(min_length=1)]
FormatName = Literal["prompt", "question", "conversations", "transcripts", "graded"]


class GradedParams(Section):
    """How graded answers become pairs: of two answers to one question the one with the higher grade is chosen.

    Attributes:
        question_field: The question; answers to the same text belong together.
        answer_field: One answer.
        grade_field: Its grade, a number; higher is better.
        min_margin: Grades that lie less far apart make no pair.
        max_pairs_per_question: A seeded choice of so many pairs of each question; null takes all.
    """

    question_field: Text
    answer_field: Text
    grade_field: Text
    min_margin: float = Field(gt=0)
    max_pairs_per_question: int | None = Field(ge=1)


class FileSetParams(Section):
    """Section `preferences.sets.<name>` with `kind: files`.

    Attributes:
        kind: Chooses this section.
        path: A file of JSON lines or JSON (packed or not), or a folder of such.
        format: What a row looks like; `auto` finds out.
        graded: Fields and knobs of graded answers; null where there are none.
    """

    kind: Literal["files"]
    path: Text
    format: Literal["auto"] | FormatName
    graded: GradedParams | None

    @model_validator(mode="after")
    def _graded_answers_need_their_fields(self) -> "FileSetParams":
        if self.format == "graded" and self.graded is None:
            raise ValueError("format graded needs the keys of graded: docs/preference-data.md shows them")
        return self
