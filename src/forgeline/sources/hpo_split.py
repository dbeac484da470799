"""Which ontology terms are held out from training."""

from typing import Annotated

from pydantic import Field, model_validator

from forgeline.core.params import Section
from forgeline.sources.hpo import PHENOTYPIC_ABNORMALITY, Ontology
from forgeline.text.split import Split, assign_split

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class HpoParams(Section):
    """Section `hpo`: how terms are split, and how long documents of diseases are.

    Attributes:
        seed: Another seed holds out other terms.
        validation_fraction: Expected share of terms in validation.
        test_fraction: Expected share of terms in test.
        max_phenotypes: A disease's document lists at most so many, the most frequent ones.
    """

    seed: int
    validation_fraction: Fraction
    test_fraction: Fraction
    max_phenotypes: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _leave_some_for_training(self) -> "HpoParams":
        if self.validation_fraction + self.test_fraction >= 1.0:
            raise ValueError("validation_fraction + test_fraction must be below 1: lower one of them")
        return self


def split_terms(ontology: Ontology, params: HpoParams) -> dict[str, Split]:
    """The split of every term, by id.

    The organ systems and what is above them are always `train`: they are answers, not questions.
    """
    answers = {PHENOTYPIC_ABNORMALITY, *ontology.organ_systems}
    if PHENOTYPIC_ABNORMALITY in ontology.terms:
        answers |= ontology.ancestors(PHENOTYPIC_ABNORMALITY)
    return {
        key: "train"
        if key in answers
        else assign_split(key, params.seed, params.validation_fraction, params.test_fraction)
        for key in ontology.terms
    }
