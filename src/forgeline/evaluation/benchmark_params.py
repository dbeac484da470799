"""Parameters of the `benchmark` stage (section `benchmark`)."""

from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from forgeline.core.params import Section


class WorkloadParams(Section):
    """What every benchmarked model has to do (section `benchmark.workload`).

    Attributes:
        num_prompts: Evaluation questions to answer, a seeded choice.
        max_new_tokens: Tokens of every answer; stop tokens are ignored, so every model does the same work.
        num_repeats: Times the whole workload is run.
        seed: Of the choice of prompts.
    """

    num_prompts: PositiveInt
    max_new_tokens: PositiveInt
    num_repeats: PositiveInt
    seed: Annotated[int, Field(ge=0)]


class BenchmarkParams(Section):
    """Which models are measured, and under what load (section `benchmark`)."""

    models: Annotated[list[str], Field(min_length=1)]
    workload: WorkloadParams

    @model_validator(mode="after")
    def _models_are_unique(self) -> "BenchmarkParams":
        if len(set(self.models)) != len(self.models):
            raise ValueError(f"models names one twice ({', '.join(self.models)}): name each once")
        return self
