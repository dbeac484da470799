"""dvc.yaml names exactly the code that each stage runs: nothing stale, nothing retrained for nothing."""

import pytest
from scripts.declare_deps import code_closure, declared_code

from forgeline.core.pipeline import PipelineStage, read_pipeline


@pytest.mark.parametrize("stage", read_pipeline(templates=True), ids=lambda stage: stage.address)
def test_declared_code_is_the_import_closure(stage: PipelineStage) -> None:
    needed, declared = code_closure(stage), declared_code(stage)
    assert sorted(needed - declared) == [], "missing deps: run `python -m scripts.declare_deps`"
    assert sorted(declared - needed) == [], "superfluous deps: run `python -m scripts.declare_deps`"
