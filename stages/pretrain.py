"""pretrain: packed tokens -> a base model, from random weights or continued from another one."""

from pathlib import Path

import torch
from accelerate import Accelerator

from forgeline.core.params import load
from forgeline.core.run import Counts, StageRun, command_line
from forgeline.core.storage import write_csv
from forgeline.model.build import initial_model
from forgeline.model.compute import set_up
from forgeline.model.loading import save_model_files
from forgeline.model.params import ComputeParams, ModelParams
from forgeline.model.traits import require_positions
from forgeline.packing.dataset import TokenDataset
from forgeline.tokenization.fingerprint import require_fingerprint, tokenizer_fingerprint
from forgeline.tokenization.loading import load_tokenizer
from forgeline.tracking.live import LiveRun
from forgeline.training.params.pretrain import PretrainParams
from forgeline.training.pretrain import pretrain, summary


def main(packed: Path, tokenizer: Path, model: Path, history: Path, metrics: Path) -> None:
    params, compute = load("pretrain", PretrainParams), load("compute", ComputeParams)
    architecture = load("model", ModelParams)
    sections = {"pretrain": params, "model": architecture, "compute": compute}
    with StageRun("pretrain", sections, metrics) as run:
        set_up(compute, params.seed)
        encoder = load_tokenizer(tokenizer)
        train, validation = TokenDataset(packed, "train"), TokenDataset(packed, "validation")
        fingerprint = tokenizer_fingerprint(tokenizer)
        require_fingerprint(train.tokenizer, str(packed), fingerprint, str(tokenizer))
        network = initial_model(params.init_from, architecture.root, encoder, tokenizer)
        require_positions(network.config, train.sequence_length, "pack.sequence_length")
        accelerator = Accelerator(mixed_precision="bf16" if compute.precision == "bf16" else "no")
        with LiveRun(run.address, run.params, run.fingerprint()) as live:
            result = pretrain(
                network, train, validation, params, accelerator=accelerator, checkpoints=run.scratch(), log=live.log
            )
        folder = run.output(model)
        save_model_files(network.to(torch.device("cpu")), encoder, folder)
        run.write_lineage(folder, tokenizer=fingerprint)
        write_csv(run.output(history), result.history)
        run.summarize(Counts(len(train), len(train)), **summary(result, network, train, validation, params))


if __name__ == "__main__":
    command_line(main)
