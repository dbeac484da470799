"""reward: instruction-tuned model + preference pairs -> reward model."""

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
from forgeline.training.params.reward import RewardParams
from forgeline.training.reward import train_reward
from forgeline.training.trl.trainer import Context


def main(sft: Path, train: Path, validation: Path, test: Path, reward: Path, history: Path, metrics: Path) -> None:
    params, compute = load("reward", RewardParams), load("compute", ComputeParams)
    with StageRun("reward", {"reward": params, "compute": compute}, metrics) as run:
        splits = [read_records(path, PreferencePair) for path in (train, validation, test)]
        with LiveRun(run.address, run.params, run.fingerprint()) as live:
            context = Context(compute, set_up(compute, params.seed), run.scratch(), live.log)
            result = train_reward(sft, splits[0], splits[1], splits[2], params, context)
        folder = run.output(reward)
        save_model_files(result.model, result.tokenizer, folder)
        run.write_lineage(folder, tokenizer=tokenizer_fingerprint(sft))
        write_csv(run.output(history), result.history)
        run.summarize(result.counts, **result.figures)


if __name__ == "__main__":
    command_line(main)
