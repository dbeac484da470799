"""What ORPO does to the instruction-tuned model, on held-out pairs: `python -m benchmarks.methods.orpo`."""

from benchmarks.methods.runs import Figures, alignment_figures, arguments, documented, run_seeds
from forgeline.training.orpo import train_orpo
from forgeline.training.params.orpo import OrpoParams
from forgeline.training.trl.trainer import Context


def main() -> None:
    """Trains with the documented parameters, once for each seed, and prints the figures of the test pairs."""
    given = arguments(__doc__)
    section = documented("orpo") | given.changes

    def run(seed: int, context: Context) -> Figures:
        params = OrpoParams(**{**section, "seed": seed, "eval_every_steps": section["num_steps"]})
        result = train_orpo(given.sft, given.splits["train"], given.splits["test"], params, context)
        return alignment_figures(result.figures)

    run_seeds("orpo", given, run)


if __name__ == "__main__":
    main()
