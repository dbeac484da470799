"""reinforce@<name>: instruction-tuned model + questions -> adapter that earns more reward, or writes like a teacher."""

from pathlib import Path

from forgeline.core.params import load
from forgeline.core.records import Conversation, read_records
from forgeline.core.run import StageRun, command_line
from forgeline.core.storage import write_csv
from forgeline.model.compute import set_up
from forgeline.model.loading import save_model_files
from forgeline.model.params import ComputeParams
from forgeline.tokenization.fingerprint import tokenizer_fingerprint
from forgeline.tracking.live import LiveRun
from forgeline.training.params.reinforce import ReinforceParams
from forgeline.training.reinforce.train import Inputs, train_reinforce


def main(
    name: str,
    sft: Path,
    train: Path,
    validation: Path,
    scoring_model: Path,
    reward_file: Path,
    aligned: Path,
    history: Path,
    metrics: Path,
) -> None:
    section = f"reinforce.{name}"
    entry, compute = load(section, ReinforceParams), load("compute", ComputeParams)
    with StageRun(f"reinforce@{name}", {section: entry, "compute": compute}, metrics) as run:
        asked, held_out = read_records(train, Conversation), read_records(validation, Conversation)
        inputs, params = Inputs(sft, asked, held_out, scoring_model, reward_file), entry.root
        device, scratch = set_up(compute, params.seed), run.scratch()
        with LiveRun(run.address, run.params, run.fingerprint()) as live:
            result = train_reinforce(section, inputs, params, compute, device, checkpoints=scratch, log=live.log)
        folder = run.output(aligned)
        save_model_files(result.model, result.tokenizer, folder)
        run.write_lineage(folder, tokenizer=tokenizer_fingerprint(sft))
        write_csv(run.output(history), result.history)
        run.summarize(result.counts, **result.figures)


if __name__ == "__main__":
    command_line(main)
