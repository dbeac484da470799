"""memory_23m: the most memory that training a 23M model takes, against the Trainer; libraries included."""

from benchmarks.harness import Comparison, Options, alternate
from benchmarks.training.runs import prepare, run_engine
from benchmarks.training.setting import M23, Job

_NUM_STEPS = 5


def run(options: Options, num_pairs: int = 3) -> Comparison:
    """Peak megabytes of both processes, as the operating system counts them."""
    job = Job(M23, str(prepare(options, M23)), _NUM_STEPS, seed=1, compile=False)
    ours, peer = alternate(
        lambda: run_engine("ours", job).peak_megabytes, lambda: run_engine("trainer", job).peak_megabytes, num_pairs
    )
    return Comparison("memory_23m", ours, peer, "MB", target=0.5)
