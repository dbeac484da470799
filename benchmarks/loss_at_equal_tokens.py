"""loss_at_equal_tokens: validation loss after equal tokens in equal order, against Trainer and litgpt, 3 seeds."""

import statistics

from benchmarks.harness import Comparison, Options
from benchmarks.training.runs import prepare, run_engine
from benchmarks.training.setting import M3, Job

_NUM_STEPS = 150  # of 4,096 tokens
_NUM_SEEDS = 3


def run(options: Options) -> Comparison:
    """Nats per token on held-out windows, computed alike for all; a mean must not exceed a peer's by its own spread."""
    data = str(prepare(options, M3))
    losses = {
        engine: [
            run_engine(engine, Job(M3, data, _NUM_STEPS, seed, compile=False)).validation_loss
            for seed in range(1, _NUM_SEEDS + 1)
        ]
        for engine in ("ours", "trainer", "litgpt")
    }
    means = {engine: statistics.fmean(values) for engine, values in losses.items()}
    spread = statistics.stdev(losses["ours"])
    for engine, values in losses.items():
        print(f"{engine}: " + ", ".join(f"{loss:.4f}" for loss in values) + f", mean {means[engine]:.4f}")
    print(f"spread of our seeds: {spread:.4f} (standard deviation)")
    peer = min(means["trainer"], means["litgpt"])
    return Comparison(
        "loss_at_equal_tokens",
        ours=means["ours"],
        peer=peer,
        unit="nats per token",
        target=(peer + spread) / peer,
    )
