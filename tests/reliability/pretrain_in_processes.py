"""Trains a small model in as many processes as a launcher has started; the main one saves what comes out.

Run by tests/reliability/test_processes.py:
    python pretrain_in_processes.py FOLDER PARAMETERS
FOLDER holds packed data in `packed` and the model in `start`; PARAMETERS are section `pretrain` in JSON.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType, FullyShardedDataParallelPlugin, PartialState

from forgeline.core.process import is_main_process
from forgeline.core.storage import write_json
from forgeline.model.loading import load_model, save_model_files
from forgeline.model.params import ComputeParams
from forgeline.packing.dataset import TokenDataset
from forgeline.tokenization.loading import load_tokenizer
from forgeline.training.params.pretrain import PretrainParams
from forgeline.training.pretrain import pretrain
from forgeline.training.pretraining.launch import make_accelerator

KILL_VARIABLE = "KILL_AT_STEP"
TERMINATE_VARIABLE = "TERMINATE_ONE_AT_STEP"


def log(step: int, _figures: dict[str, float]) -> None:
    if os.environ.get(KILL_VARIABLE) == str(step):
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get(TERMINATE_VARIABLE) == str(step) and not is_main_process():
        os.kill(os.getpid(), signal.SIGTERM)


def with_fsdp(accelerator: Accelerator) -> Accelerator:
    """Spreads the weights on CPUs too: accelerate reads the launcher's FSDP settings on accelerators only."""
    if os.environ.get("ACCELERATE_USE_FSDP", "false") == "true" and accelerator.device.type == "cpu":
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
        accelerator.state.distributed_type = PartialState().distributed_type = DistributedType.FSDP
    return accelerator


def main(folder: Path, params: PretrainParams) -> None:
    torch.manual_seed(params.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    result = pretrain(
        load_model(folder / "start", torch.device("cpu")),
        TokenDataset(folder / "packed", "train"),
        TokenDataset(folder / "packed", "validation"),
        params,
        accelerator=with_fsdp(make_accelerator(params, ComputeParams(num_threads=1, precision="fp32"))),
        checkpoints=folder / "scratch",
        log=log,
    )

    if is_main_process():
        save_model_files(result.model, load_tokenizer(folder / "start"), folder / "trained")
        write_json(folder / "history.json", result.history)


if __name__ == "__main__":
    main(Path(sys.argv[1]), PretrainParams(**json.loads(sys.argv[2])))
