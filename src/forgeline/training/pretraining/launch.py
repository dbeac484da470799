"""Several processes for one stage: `dvc repro` starts one, which becomes accelerate's launcher when more are asked for.

The stage's command stays the same, so DVC needs to know nothing of it. On several machines, start the launcher on each
by hand (docs/pretraining.md): processes that a launcher has numbered start no others.
"""

import importlib.util
import os
import sys
from pathlib import Path

import torch
from accelerate import Accelerator

import forgeline
from forgeline.core.errors import ParamsError
from forgeline.core.process import RANK_VARIABLE
from forgeline.model.params import ComputeParams
from forgeline.training.params.pretrain import PretrainParams

CONFIGS = Path("configs/accelerate")
_WORLD_SIZE_VARIABLE = "WORLD_SIZE"


def start_processes(module: str, params: PretrainParams) -> None:
    """Goes on in as many processes as `params` ask for; returns in each of them, and in a single one at once.

    Args:
        module: The stage's module; its arguments are those of this process.
        params: Section `pretrain`.

    Raises:
        ParamsError: Another number of processes was started by hand, or DeepSpeed is asked for and not installed.
    """
    if params.num_processes > 1 and params.parallel.startswith("zero") and not importlib.util.find_spec("deepspeed"):
        raise ParamsError(
            f"params.yaml: pretrain.parallel {params.parallel} needs DeepSpeed: `pip install deepspeed`, or set it to "
            "fsdp"
        )
    if RANK_VARIABLE in os.environ:
        started = int(os.environ[_WORLD_SIZE_VARIABLE])
        if started != params.num_processes:
            raise ParamsError(
                f"params.yaml: pretrain.num_processes is {params.num_processes}, but the launcher has started "
                f"{started}: make them the same"
            )
    elif params.num_processes > 1:
        source = str(Path(next(iter(forgeline.__path__))).parent)  # of this very code, also in a copy of the repository
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}
        os.execve(sys.executable, launch_command(module, params, sys.argv[1:]), environment)


def launch_command(module: str, params: PretrainParams, arguments: list[str]) -> list[str]:
    """The command that runs a stage's module in several processes."""
    return [
        sys.executable,
        *("-m", "forgeline.training.pretraining.launcher", "--config_file", str(CONFIGS / f"{params.parallel}.yaml")),
        *("--num_processes", str(params.num_processes), "--main_process_port", "0"),
        *("--module", module, *arguments),
    ]


def make_accelerator(params: PretrainParams, compute: ComputeParams) -> Accelerator:
    """Accelerate's view of this process, on the first GPUs where there are any, else on the CPU.

    Raises:
        ParamsError: Float16 is wanted of DeepSpeed, which would scale the loss a second time.
    """
    accelerator = Accelerator(
        mixed_precision="bf16" if compute.precision == "bf16" else "no", cpu=not torch.cuda.is_available()
    )
    plugin = accelerator.state.deepspeed_plugin
    if plugin is not None and compute.precision == "fp16":
        raise ParamsError(
            f"pretrain.parallel {params.parallel} does not take compute.precision fp16: set it to bf16, or parallel to "
            "ddp or fsdp"
        )
    if plugin is not None:  # it would read this off a data loader, and there is none
        share = params.micro_batch_size // params.num_processes
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = share
        plugin.deepspeed_config["train_batch_size"] = params.micro_batch_size
        plugin.deepspeed_config["gradient_clipping"] = params.max_grad_norm
    return accelerator
