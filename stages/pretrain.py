"""pretrain: packed tokens -> a base model, from random weights or continued from another one."""

from functools import partial
from pathlib import Path

from forgeline.core.params import load
from forgeline.core.run import Counts, StageRun, command_line
from forgeline.core.storage import write_csv
from forgeline.model.compute import set_up
from forgeline.model.initial import initial_model
from forgeline.model.params import ComputeParams, ModelParams
from forgeline.model.traits import require_positions
from forgeline.packing.dataset import TokenDataset
from forgeline.tokenization.fingerprint import require_fingerprint, tokenizer_fingerprint
from forgeline.tokenization.loading import load_tokenizer
from forgeline.tracking.live import LiveRun
from forgeline.training.params.pretrain import PretrainParams
from forgeline.training.pretrain import pretrain
from forgeline.training.pretraining.adapted import adapted, save_whole, whole_model
from forgeline.training.pretraining.launch import make_accelerator, start_processes
from forgeline.training.pretraining.summary import summary


def main(packed: Path, tokenizer: Path, model: Path, history: Path, metrics: Path) -> None:
    params, compute = load("pretrain", PretrainParams), load("compute", ComputeParams)
    architecture = load("model", ModelParams)
    start_processes("stages.pretrain", params)
    sections = {"pretrain": params, "model": architecture, "compute": compute}
    with StageRun("pretrain", sections, metrics) as run:
        set_up(compute, params.seed)
        encoder = load_tokenizer(tokenizer)
        train, validation = TokenDataset(packed, "train"), TokenDataset(packed, "validation")
        fingerprint = tokenizer_fingerprint(tokenizer)
        require_fingerprint(train.tokenizer, str(packed), fingerprint, str(tokenizer))
        start = initial_model(params.init_from, architecture.root, encoder, tokenizer)
        require_positions(start.model.config, train.sequence_length, "pack.sequence_length")
        with LiveRun(run.address, run.params, run.fingerprint()) as live:
            result = pretrain(
                adapted(start.model, params, start.new_ids),
                train,
                validation,
                params,
                accelerator=make_accelerator(params, compute),
                checkpoints=run.scratch(),
                log=live.log,
                identity=f"{run.fingerprint()} from {start.sha256}",
                save_model=partial(save_whole, tokenizer=encoder),
                float16=compute.precision == "fp16",
            )
        network, folder = whole_model(result.model), run.output(model)
        save_whole(network, encoder, folder)
        run.write_lineage(folder, tokenizer=fingerprint, init_from_sha256=start.sha256)
        write_csv(run.output(history), result.history)
        figures = summary(result, network.num_parameters(), train, validation, params)
        run.summarize(Counts(len(train), len(train)), init_from_sha256=start.sha256, **figures)


if __name__ == "__main__":
    command_line(main)
