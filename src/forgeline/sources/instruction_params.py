"""Parameters of the instruction sets."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from forgeline.core.params import Section
from forgeline.sources.conversations.formats import Expected, FormatName
from forgeline.sources.hpo_split import Fraction

Limit = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class HpoQuestionSet(Section):
    """A set of kind `hpo_questions`: the packaged questions. `path` is the descriptor of the ontology."""

    kind: Literal["hpo_questions"]
    path: str
    weight: Weight | None


class FileSet(Section):
    """A set of kind `files`: conversations in a file or a folder.

    Attributes:
        path: File or folder.
        pattern: Which files of a folder; null takes all.
        format: One of `FORMATS`, or auto: told by the fields of each file's first record.
        fields: What the files call a field of the format, by the format's own name.
        weight: In the training mixture, relative to the other sets; null in all sets takes every conversation once.
    """

    kind: Literal["files"]
    path: str
    pattern: str | None
    format: FormatName | Literal["auto"]
    fields: dict[str, str]
    weight: Weight | None

    @model_validator(mode="after")
    def _known_fields(self) -> "FileSet":
        self.expected  # noqa: B018  raises
        return self

    @property
    def expected(self) -> Expected:
        """What the reader has to know of the files."""
        return Expected(self.format, self.fields)


InstructionSet = Annotated[HpoQuestionSet | FileSet, Field(discriminator="kind")]


class TaskLimits(Section):
    """Section `instructions.max_per_task`: most training questions of each task; null takes all."""

    organ_system: Limit | None
    is_a: Limit | None
    definition: Limit | None


class FilterParams(Section):
    """Section `instructions.filters`. What is dropped keeps its reason in `dropped.parquet`.

    Attributes:
        empty: Turns of user or assistant that say nothing: an error, or the conversation is dropped.
        echo: Answers that equal their question: the same choice.
        max_characters: Longer conversations are dropped as `too_long`; lengths in tokens are `sft.max_length`'s.
        urls: What becomes of conversations with a web address.
        code: What becomes of conversations with a block of code.
        duplicate_prompts: What becomes of prompts asked before but for case and white space.
    """

    empty: Literal["error", "drop"]
    echo: Literal["error", "drop"]
    max_characters: Limit
    urls: Literal["keep", "drop"]
    code: Literal["keep", "drop"]
    duplicate_prompts: Literal["keep", "drop"]


class InstructionParams(Section):
    """Section `instructions`.

    Attributes:
        sets: The instruction sets by name, in order.
        filters: Which conversations leave.
        max_repeats: How often a training conversation may be taken so that a small set fills its share; see `mixture`.
        max_per_task: Caps on training questions.
        max_test_per_task: Cap on the validation and on the test questions of each task.
        validation_fraction: Expected share of the prompts of files in validation; the ontology's terms follow `hpo`.
        test_fraction: Expected share in test.
        seed: Chooses wordings, wrong choices, what a cap or a share keeps, and the split of files.
    """

    sets: dict[str, InstructionSet]
    filters: FilterParams
    max_repeats: Limit
    max_per_task: TaskLimits
    max_test_per_task: Limit
    validation_fraction: Fraction
    test_fraction: Fraction
    seed: int

    @model_validator(mode="after")
    def _something_to_train_on(self) -> "InstructionParams":
        if not self.sets:
            raise ValueError("sets is empty: name at least one instruction set")
        if self.validation_fraction + self.test_fraction >= 1.0:
            raise ValueError("validation_fraction + test_fraction must be below 1: lower one of them")
        unweighted = [name for name, chosen in self.sets.items() if chosen.weight is None]
        if unweighted and len(unweighted) < len(self.sets):
            raise ValueError(
                f"sets.{unweighted[0]}.weight is null and another set's is not: give all sets a weight, or none"
            )
        return self
