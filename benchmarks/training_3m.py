"""training_3m: steps of the default 3M model (256 tokens x 16) on one thread, against the Trainer and litgpt."""

from benchmarks.harness import Comparison, Options
from benchmarks.training.setting import M3
from benchmarks.training.speed import compare


def run(options: Options) -> Comparison:
    """Tokens per CPU second of our compiled loop and the Trainer's; prints those of litgpt and without a compiler."""
    return compare(options, "training_3m", M3, 20, {"trainer": 1.6, "litgpt": 1.25, "eager": 1.0})
