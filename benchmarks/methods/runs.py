"""What the scripts of the preference methods share: their arguments, seeds one after the other, and a table."""

import argparse
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from forgeline.core.params import plain, read_yaml
from forgeline.core.records import PreferencePair, read_records
from forgeline.model.compute import set_up
from forgeline.model.params import ComputeParams
from forgeline.training.trl.trainer import Context

DOCUMENTED = Path("docs/alignment.md")
_FENCE = re.compile(r"^```yaml\n(# params\.yaml\n.*?)^```", re.MULTILINE | re.DOTALL)

Splits = Mapping[str, list[PreferencePair]]
Figures = dict[str, float]


@dataclass(frozen=True)
class Arguments:
    """The command line.

    Attributes:
        sft: The instruction-tuned model that every seed starts from.
        splits: The pairs of each split.
        seeds: One run for each.
        changes: Parameters that differ from the documented ones.
    """

    sft: Path
    splits: Splits
    seeds: list[int]
    changes: dict[str, Any]


def arguments(description: str | None) -> Arguments:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--sft", type=Path, default=Path("models/sft"), help="model to start from")
    parser.add_argument("--pairs", type=Path, default=Path("data/preferences"), help="folder of the splits")
    parser.add_argument("--seeds", type=int, nargs="+", default=[17, 18, 19])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="parameters to change, as YAML")
    options = parser.parse_args()
    splits = {
        name: read_records(options.pairs / f"{name}.parquet", PreferencePair)
        for name in ("train", "validation", "test")
    }
    return Arguments(options.sft, splits, options.seeds, dict(_change(text) for text in options.set))


def _change(text: str) -> tuple[str, Any]:
    from ruamel.yaml import YAML

    key, _, value = text.partition("=")
    return key, YAML(typ="safe", pure=True).load(value)


def documented(method: str) -> dict[str, Any]:
    """The section of the first member with this method that docs/alignment.md shows."""
    for text in _FENCE.findall(DOCUMENTED.read_text(encoding="utf-8")):
        with TemporaryDirectory() as folder:
            file = Path(folder) / "params.yaml"
            file.write_text(text, encoding="utf-8")
            values = plain(read_yaml(file))
        for section in values.get("align", {}).values():
            if section.get("method") == method:
                return dict(section)
    raise ValueError(f"{DOCUMENTED} shows no complete section with method {method}")


def run_seeds(name: str, given: Arguments, run: Callable[[int, Context], Figures]) -> None:
    """Runs every seed, printing its figures, and then mean and standard deviation over seeds.

    Args:
        name: What is measured.
        given: The command line.
        run: Trains with a seed and returns figures by name.
    """
    compute = ComputeParams(num_threads=1, precision=plain(read_yaml(Path("params.yaml")))["compute"]["precision"])
    rows = []
    for seed in given.seeds:
        with TemporaryDirectory() as scratch:
            context = Context(compute, set_up(compute, seed), Path(scratch), lambda step, figures: None)
            start = time.process_time()
            figures = run(seed, context)
            figures["CPU seconds"] = time.process_time() - start
        rows.append(figures)
        print(f"{name}, seed {seed}: " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()), flush=True)
    print(table(rows))


def table(rows: Sequence[Figures]) -> str:
    """Mean, standard deviation, least and largest value of each figure over the seeds, as Markdown."""
    lines = [
        f"| figure | mean of {len(rows)} seeds | standard deviation | least | largest |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in rows[0]:
        values = [row[name] for row in rows]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        cells = (statistics.fmean(values), spread, min(values), max(values))
        lines.append(f"| {name} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |")
    return "\n".join(lines)


def alignment_figures(figures: Mapping[str, Any]) -> Figures:
    """What the pairs say of an aligned model, from the figures of its metrics file."""
    scores = figures["validation"]
    found = {
        "reward accuracy": scores["reward_accuracy"]["value"],
        "reward margin": scores["reward_margin"]["value"],
        "reward margin, low": scores["reward_margin"]["low"],
        "chosen likelier, before": scores["likelihood_accuracy"]["baseline"],
        "chosen likelier, after": scores["likelihood_accuracy"]["value"],
        "chosen perplexity, before": scores["chosen_perplexity"]["baseline"],
        "chosen perplexity, after": scores["chosen_perplexity"]["value"],
        "rejected perplexity, before": scores["rejected_perplexity"]["baseline"],
        "rejected perplexity, after": scores["rejected_perplexity"]["value"],
    }
    for name, key in (("win rate over sft", "win_rate_over_reference"), ("KL, nats an answer", "kl_to_reference")):
        score = scores[key]
        if score is not None:
            found |= {name: score["value"], f"{name}, low": score["low"], f"{name}, high": score["high"]}
    return found
