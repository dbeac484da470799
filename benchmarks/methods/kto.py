"""What KTO does to the instruction-tuned model, on held-out pairs: `python -m benchmarks.methods.kto`."""

from benchmarks.methods.runs import Figures, alignment_figures, arguments, documented, run_seeds
from forgeline.training.kto import train_kto
from forgeline.training.params.kto import KtoParams
from forgeline.training.trl.trainer import Context


def main() -> None:
    """Trains with the documented parameters, once for each seed, and prints the figures of the test pairs."""
    given = arguments(__doc__)
    section = documented("kto") | given.changes

    def run(seed: int, context: Context) -> Figures:
        params = KtoParams(**{**section, "seed": seed, "eval_every_steps": section["num_steps"]})
        result = train_kto(given.sft, given.splits["train"], given.splits["test"], params, context)
        return alignment_figures(result.figures)

    run_seeds("kto", given, run)


if __name__ == "__main__":
    main()
