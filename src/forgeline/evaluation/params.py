"""Parameters of the `evaluate` stage (section `evaluate`)."""

from typing import Annotated

from pydantic import AfterValidator, Field, PositiveInt

from forgeline.core.params import Section


def _unique(values: list[str]) -> list[str]:
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"{', '.join(repeated)} stands there more than once: name each once")
    return values


BUILT_IN_TASKS = ("perplexity", "organ_system", "is_a", "definition_choice", "preference", "reference_answer")
TaskName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class ScoringParams(Section):
    """How every model is scored (section `evaluate.scoring`).

    Attributes:
        tasks: What to score, in the order of the report: `BUILT_IN_TASKS`, and tasks that files define.
        max_documents: Most held-out documents for perplexity; a seeded choice of them when there are more.
        window_tokens: Context of one perplexity window; longer documents are scored in overlapping windows. More than
            the model was trained on measures extrapolation.
        batch_tokens: Padded tokens of one forward pass.
        max_new_tokens: Most tokens of a generated answer.
        num_bootstrap: Resamples behind a bootstrap interval.
        seed: Of the choice of documents and of the resamples.
    """

    tasks: Annotated[list[TaskName], Field(min_length=1), AfterValidator(_unique)]
    max_documents: PositiveInt
    window_tokens: Annotated[int, Field(ge=2)]
    batch_tokens: PositiveInt
    max_new_tokens: PositiveInt
    num_bootstrap: Annotated[int, Field(ge=100)]
    seed: Annotated[int, Field(ge=0)]


class EvaluateParams(Section):
    """Which models are evaluated, and how (section `evaluate`)."""

    models: Annotated[list[str], Field(min_length=1), AfterValidator(_unique)]
    scoring: ScoringParams
