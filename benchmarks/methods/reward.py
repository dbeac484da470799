"""What the reward model learns, on held-out pairs: `python -m benchmarks.methods.reward`."""

from pathlib import Path

from benchmarks.methods.runs import Figures, arguments, run_seeds
from forgeline.core.params import plain, read_yaml
from forgeline.training.params.reward import RewardParams
from forgeline.training.reward import train_reward
from forgeline.training.trl.trainer import Context


def main() -> None:
    """Trains with the parameters of params.yaml, once for each seed, and prints the figures of the test pairs."""
    given = arguments(__doc__)
    section = plain(read_yaml(Path("params.yaml")))["reward"] | given.changes

    def run(seed: int, context: Context) -> Figures:
        params = RewardParams(**{**section, "seed": seed, "eval_every_steps": section["num_steps"]})
        # Watched on the test pairs, so that the untrained model is measured on them too.
        splits = given.splits
        figures = train_reward(given.sft, splits["train"], splits["test"], splits["test"], params, context).figures
        accuracy, margin = figures["test"]["pair_accuracy"], figures["test"]["mean_margin"]
        return {
            "pair accuracy, before": figures["before"]["validation_accuracy"],
            "pair accuracy, after": accuracy["value"],
            "pair accuracy, low": accuracy["low"],
            "pair accuracy, high": accuracy["high"],
            "margin, before": figures["before"]["validation_margin"],
            "margin, after": margin["value"],
            "margin, low": margin["low"],
            "margin, high": margin["high"],
        }

    run_seeds("reward", given, run)


if __name__ == "__main__":
    main()
