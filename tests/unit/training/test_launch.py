import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.training.toys import OPTIMIZERS

from forgeline.core.errors import ParamsError
from forgeline.core.params import plain, read_yaml
from forgeline.training.params.pretrain import PretrainParams
from forgeline.training.pretraining import launch as module
from forgeline.training.pretraining.launch import CONFIGS, launch_command, start_processes

ADAMW = {"optimizer": OPTIMIZERS["adamw"]}


class Replaced(Exception):
    """Stands for the end of this program: another has taken its place."""


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What this process would have become."""
    commands: list[list[str]] = []

    def replace(_program: str, command: list[str], _environment: dict[str, str]) -> None:
        commands.append(command)
        raise Replaced

    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module.os, "execve", replace)
    monkeypatch.setattr(sys, "argv", ["stages/pretrain.py", "--packed", "data/pack"])
    return commands


def test_one_process_goes_on_by_itself(executed: list[list[str]], pretrain_params) -> None:
    start_processes("stages.pretrain", pretrain_params(num_processes=1))
    assert executed == []


def test_more_become_the_launcher_with_the_same_arguments(executed: list[list[str]], pretrain_params) -> None:
    with pytest.raises(Replaced):
        start_processes("stages.pretrain", pretrain_params(num_processes=2, parallel="fsdp", **ADAMW))
    (command,) = executed
    assert command[command.index("--config_file") + 1] == "configs/accelerate/fsdp.yaml"
    assert command[command.index("--num_processes") + 1] == "2"
    assert command[-4:] == ["--module", "stages.pretrain", "--packed", "data/pack"]


def test_a_numbered_process_starts_no_others(
    executed: list[list[str]], pretrain_params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    start_processes("stages.pretrain", pretrain_params(num_processes=2))
    assert executed == []
    with pytest.raises(ParamsError, match=r"num_processes is 4, but the launcher has started 2: make them the same"):
        start_processes("stages.pretrain", pretrain_params(num_processes=4))


def test_deepspeed_that_is_not_there_is_asked_for(executed: list[list[str]], pretrain_params) -> None:
    with pytest.raises(ParamsError, match="parallel zero2 needs DeepSpeed: `pip install deepspeed`, or"):
        start_processes("stages.pretrain", pretrain_params(num_processes=2, parallel="zero2", **ADAMW))
    assert executed == []


@pytest.mark.parametrize("parallel", PretrainParams.model_fields["parallel"].annotation.__args__)
def test_every_choice_has_a_configuration_that_accelerate_reads(parallel: str, pretrain_params) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    file = CONFIGS / f"{parallel}.yaml"
    config = load_config_from_file(str(file))
    expected = {"ddp": "MULTI_GPU", "fsdp": "FSDP"}.get(parallel, "DEEPSPEED")
    assert config.distributed_type == expected
    values: Any = plain(read_yaml(file))
    if parallel.startswith("zero"):
        assert values["deepspeed_config"]["zero_stage"] == int(parallel[-1])
    assert str(file) in launch_command("x", pretrain_params(num_processes=2, parallel=parallel, **ADAMW), [])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_processes": 3}, "micro_batch_size 4 is not a multiple of num_processes 3"),
        ({"num_processes": 2, "parallel": "fsdp"}, "optimizer muon needs whole matrices, which parallel fsdp cuts"),
        (
            {"num_processes": 2, "parallel": "zero1", "final_weights": "best", **ADAMW},
            "parallel zero1 keeps no best weights",
        ),
        (
            {"num_processes": 2, "parallel": "fsdp", "peft": "lora", "init_from": "x", **ADAMW},
            "peft lora is not spread: set parallel to ddp",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(pretrain_params, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pretrain_params(**changed)


def test_the_configurations_are_where_the_stage_looks() -> None:
    assert sorted(path.name for path in Path("configs/accelerate").iterdir()) == [
        "ddp.yaml",
        "fsdp.yaml",
        "zero1.yaml",
        "zero2.yaml",
        "zero3.yaml",
    ]
