from pathlib import Path

import pytest
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo

from forgeline.core.params import plain, read_yaml
from forgeline.core.pipeline import PipelineStage, find_stage, read_pipeline

REPOSITORY = Path(__file__).parents[3]

SMALL = """\
stages:
  one:
    cmd: make --seed ${train.seed}
    deps: [a.txt, "${train.data.path}"]
    params: [train]
    outs: [b]
    metrics: [m.json: {cache: false}]
    plots: [p.csv: {cache: false, x: step}]
  by_list:
    foreach: [x, y]
    do: {cmd: "run ${item}", deps: [b], outs: ["c/${item}"]}
  by_mapping:
    foreach: ${sources}
    do: {cmd: "run ${key} ${item.path} ${train.seed}", deps: ["${item.path}"], params: ["sources.${key}"]}
"""
SMALL_PARAMS = """\
train: {seed: 5, data: {path: d.txt}}
sources: {first: {path: 1.txt}, second: {path: 2.txt}}
"""


def test_a_small_pipeline_by_hand(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(SMALL)
    (tmp_path / "params.yaml").write_text(SMALL_PARAMS)
    assert read_pipeline(tmp_path) == [
        PipelineStage("one", "make --seed 5", ("a.txt", "d.txt"), ("b", "m.json", "p.csv"), ("train",)),
        PipelineStage("by_list@x", "run x", ("b",), ("c/x",), ()),
        PipelineStage("by_list@y", "run y", ("b",), ("c/y",), ()),
        PipelineStage("by_mapping@first", "run first 1.txt 5", ("1.txt",), (), ("sources.first",)),
        PipelineStage("by_mapping@second", "run second 2.txt 5", ("2.txt",), (), ("sources.second",)),
    ]
    found = find_stage("by_mapping@second", tmp_path)
    assert found is not None
    assert found.name == "by_mapping"
    assert find_stage("by_mapping", tmp_path) is None


def test_a_group_without_members_shows_as_a_template_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(SMALL.replace("${item.path} ${train.seed}", "x").replace('"${item.path}"', ""))
    (tmp_path / "params.yaml").write_text(SMALL_PARAMS.replace("{first: {path: 1.txt}, second: {path: 2.txt}}", "{}"))
    names = [stage.address for stage in read_pipeline(tmp_path)]
    assert names == ["one", "by_list@x", "by_list@y"]
    *others, template = read_pipeline(tmp_path, templates=True)
    assert [stage.address for stage in others] == names
    assert template == PipelineStage("by_mapping@*", "run * x", (), (), ("sources.*",))


@pytest.mark.filterwarnings("default")  # DVC's own dependencies deprecate things; its index is only our yardstick
def test_our_reader_sees_the_pipeline_as_dvc_does() -> None:
    ours = {
        stage.address: (stage.command, set(stage.deps), set(stage.outs), set(stage.params))
        for stage in read_pipeline(REPOSITORY)
    }
    with Repo(str(REPOSITORY)) as repo:
        theirs = {
            stage.addressing: (
                stage.cmd,
                {dep.def_path for dep in stage.deps if not isinstance(dep, ParamsDependency)},
                {out.def_path for out in stage.outs},
                {name for dep in stage.deps if isinstance(dep, ParamsDependency) for name in dep.params},
            )
            for stage in repo.index.stages
        }
    assert ours == theirs
    assert len(ours) >= len(plain(read_yaml(REPOSITORY / "dvc.yaml"))["stages"])
