"""sft: base model + training conversations -> instruction-tuned model."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.records import Conversation, read_records
from forgeline.core.run import StageRun, command_line
from forgeline.core.storage import write_csv, write_json
from forgeline.model.compute import set_up
from forgeline.model.loading import save_model_files
from forgeline.model.params import ComputeParams
from forgeline.tokenization.extension import added_ids
from forgeline.tokenization.fingerprint import tokenizer_fingerprint
from forgeline.tracking.live import LiveRun
from forgeline.training.loss_view import loss_view
from forgeline.training.params.sft import SftParams
from forgeline.training.sft import train_sft
from forgeline.training.sft_model import lineage_facts
from forgeline.training.trl.trainer import Context


def main(
    base: Path,
    tokenizer: Path,
    train: Path,
    validation: Path,
    sft: Path,
    samples: Path,
    history: Path,
    metrics: Path,
) -> None:
    params, compute = load("sft", SftParams), load("compute", ComputeParams)
    with StageRun("sft", {"sft": params, "compute": compute}, metrics) as run:
        learned, watched = read_records(train, Conversation), read_records(validation, Conversation)
        with LiveRun(run.address, run.params, run.fingerprint()) as live:
            context = Context(compute, set_up(compute, params.seed), run.scratch(), live.log)
            result = train_sft(base, learned, watched, params, context, added_ids(tokenizer))
        folder = run.output(sft)
        save_model_files(result.model, result.tokenizer, folder)
        run.write_lineage(folder, tokenizer=tokenizer_fingerprint(base), **lineage_facts(params))
        write_json(run.output(samples), loss_view(result.tokenizer, learned, params))
        write_csv(run.output(history), result.history)
        run.summarize(result.counts, **result.figures)


if __name__ == "__main__":
    command_line(main)
