from pathlib import Path

import pytest

from forgeline.sources.hpo import Ontology, load_ontology
from forgeline.sources.hpo_split import HpoParams, split_terms
from forgeline.text.split import Split

DESCRIPTOR = Path("src/forgeline/sources/hpo.json")


@pytest.fixture(scope="session")
def descriptor() -> Path:
    return DESCRIPTOR


@pytest.fixture(scope="session")
def hpo() -> HpoParams:
    return HpoParams(seed=17, validation_fraction=0.05, test_fraction=0.1, max_phenotypes=8)


@pytest.fixture(scope="session")
def ontology() -> Ontology:
    return load_ontology(DESCRIPTOR)


@pytest.fixture(scope="session")
def splits(ontology: Ontology, hpo: HpoParams) -> dict[str, Split]:
    return split_terms(ontology, hpo)
