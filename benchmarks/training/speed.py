"""Our loop, compiled and not, against the Trainer and litgpt: every engine on one thread, in turn, several rounds."""

import statistics
from collections.abc import Mapping

from benchmarks.harness import Comparison, Options
from benchmarks.training.runs import prepare, run_engine
from benchmarks.training.setting import Job, Outcome, Setting

_SAME_LOSS = 0.02  # nats per token, between engines that start from the same weights and see the same text

_ENGINES = {
    "compiled": ("ours", True),
    "trainer": ("trainer", False),
    "litgpt": ("litgpt", False),
    "eager": ("ours", False),
}


def compare(options: Options, name: str, setting: Setting, num_steps: int, targets: Mapping[str, float]) -> Comparison:
    """Tokens per second of the medians, after a round that warms the compilers' caches up.

    Args:
        options: Of the command line.
        name: Of the benchmark.
        setting: The model and the shape of a step.
        num_steps: Of every run; the first ones do not count.
        targets: What our compiled loop must reach as a multiple of each peer (`trainer`, `litgpt`), and our loop
            without a compiler as one of litgpt (`eager`).
    """
    job = Job(setting, str(prepare(options, setting)), num_steps, seed=1, compile=False)
    rounds = [_round(job) for _ in range(4)][1:]
    rates = {engine: statistics.median(one[engine].tokens_per_second for one in rounds) for engine in _ENGINES}
    held = {
        "compiled to litgpt": rates["compiled"] / rates["litgpt"] >= targets["litgpt"],
        "eager to litgpt": rates["eager"] / rates["litgpt"] >= targets["eager"],
        "loss as the Trainer's": all(
            one["compiled"].validation_loss <= one["trainer"].validation_loss + _SAME_LOSS for one in rounds
        ),
    }
    print(", ".join(f"{engine} {rate:.0f}" for engine, rate in rates.items()) + " tokens/s")
    print(
        f"compiled to litgpt {rates['compiled'] / rates['litgpt']:.2f} (at least {targets['litgpt']}), "
        f"eager to litgpt {rates['eager'] / rates['litgpt']:.2f} (at least {targets['eager']})"
    )
    print(", ".join(f"{requirement}: {'met' if met else 'NOT met'}" for requirement, met in held.items()))
    return Comparison(
        name,
        ours=rates["compiled"],
        peer=rates["trainer"],
        unit="tokens per CPU second",
        target=targets["trainer"],
        higher_is_better=True,
        others_hold=all(held.values()),
    )


def _round(job: Job) -> dict[str, Outcome]:
    return {
        label: run_engine(engine, Job(job.setting, job.data, job.num_steps, job.seed, compiles))
        for label, (engine, compiles) in _ENGINES.items()
    }
