"""One word per stage: in dvc.yaml, its script, its params section, its metrics file and its test."""

import re
from pathlib import Path

import pytest

from forgeline.core.params import plain, read_yaml
from forgeline.core.pipeline import PipelineStage, read_pipeline

STAGES = read_pipeline(templates=True)
PARAMS = plain(read_yaml(Path("params.yaml")))


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.address)
def test_one_word(stage: PipelineStage) -> None:
    key = stage.address.partition("@")[2]
    module = stage.command.split()[2]
    script = Path(*module.split(".")).with_suffix(".py")
    assert script in (Path("stages") / f"{stage.name}.py", Path("stages") / stage.name / f"{key}.py")
    assert script.is_file()
    assert stage.name in PARAMS
    assert any(section.partition(".")[0] == stage.name for section in stage.params)
    metrics = f"metrics/{stage.name}/{key}.json" if key else f"metrics/{stage.name}.json"
    assert metrics in stage.outs
    assert Path("tests/pipeline", f"test_{stage.name}.py").is_file()


def test_file_order_is_an_execution_order() -> None:
    made: set[str] = set()
    for stage in STAGES:
        for dep in stage.deps:
            if not dep.startswith(("configs/", "src/", "stages/", "tasks")):
                there = any(out == dep or out.startswith(f"{dep}/") for out in made)
                assert there, f"{stage.address}: {dep} comes later"
        made |= set(stage.outs)


def test_paths_stand_in_dvc_yaml_alone() -> None:
    path = re.compile(r"[\"'](?:data|models|metrics)/[^\"']*[\"']")
    found = {str(script): path.findall(script.read_text()) for script in Path("stages").rglob("*.py")}
    assert {script: paths for script, paths in found.items() if paths} == {}


def test_stage_scripts_are_thin() -> None:
    for script in Path("stages").rglob("*.py"):
        lines = script.read_text().splitlines()
        assert len(lines) <= 60, f"{script} has {len(lines)} lines"
        assert not [line for line in lines if re.match(r"\s+(for|while|try)\b", line)], f"{script}: loops belong in src"
