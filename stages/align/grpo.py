"""align@grpo: instruction-tuned model + questions with a verifiable answer -> aligned adapter."""

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
from forgeline.training.grpo import train_grpo
from forgeline.training.params.grpo import GrpoParams


def main(sft: Path, train: Path, validation: Path, aligned: Path, history: Path, metrics: Path) -> None:
    params, compute = load("align.grpo", GrpoParams), load("compute", ComputeParams)
    with StageRun("align@grpo", {"align.grpo": params, "compute": compute}, metrics) as run:
        asked, held_out = read_records(train, Conversation), read_records(validation, Conversation)
        device, scratch = set_up(compute, params.seed), run.scratch()
        with LiveRun(run.address, run.params, run.fingerprint()) as live:
            result = train_grpo(sft, asked, held_out, params, compute, device, checkpoints=scratch, log=live.log)
        folder = run.output(aligned)
        save_model_files(result.model, result.tokenizer, folder)
        run.write_lineage(folder, tokenizer=tokenizer_fingerprint(sft))
        write_csv(run.output(history), result.history)
        run.summarize(result.counts, **result.figures)


if __name__ == "__main__":
    command_line(main)
