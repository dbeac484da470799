"""align@<name>, method dpo: instruction-tuned model + preference pairs -> aligned adapter."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.records import PreferencePair, read_records
from forgeline.core.run import StageRun, command_line
from forgeline.core.storage import write_csv
from forgeline.model.compute import set_up
from forgeline.model.loading import save_model_files
from forgeline.model.params import ComputeParams
from forgeline.tokenization.fingerprint import tokenizer_fingerprint
from forgeline.tracking.live import LiveRun
from forgeline.training.dpo import train_dpo
from forgeline.training.params.dpo import DpoParams
from forgeline.training.trl.trainer import Context


def main(name: str, sft: Path, train: Path, validation: Path, aligned: Path, history: Path, metrics: Path) -> None:
    section = f"align.{name}"
    params, compute = load(section, DpoParams), load("compute", ComputeParams)
    with StageRun(f"align@{name}", {section: params, "compute": compute}, metrics) as run:
        learned, held_out = read_records(train, PreferencePair), read_records(validation, PreferencePair)
        with LiveRun(run.address, run.params, run.fingerprint()) as live:
            context = Context(compute, set_up(compute, params.seed), run.scratch(), live.log)
            result = train_dpo(sft, learned, held_out, params, context)
        folder = run.output(aligned)
        save_model_files(result.model, result.tokenizer, folder)
        run.write_lineage(folder, tokenizer=tokenizer_fingerprint(sft))
        write_csv(run.output(history), result.history)
        run.summarize(result.counts, **result.figures)


if __name__ == "__main__":
    command_line(main)
