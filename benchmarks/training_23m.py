"""training_23m: pretraining steps of a 23M model (512 tokens x 8) on one thread, against the Trainer and litgpt."""

from benchmarks.harness import Comparison, Options
from benchmarks.training.setting import M23
from benchmarks.training.speed import compare


def run(options: Options) -> Comparison:
    """Tokens per CPU second of our compiled loop and the Trainer's; prints those of litgpt and without a compiler."""
    return compare(options, "training_23m", M23, 8, {"trainer": 2.2, "litgpt": 1.3, "eager": 1.0})
