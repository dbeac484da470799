"""Prints the result tables of README.md from the metrics of the run that lies here: `python docs/results_table.py`."""

import json
from pathlib import Path
from typing import Any

METRICS = Path(__file__).resolve().parent.parent / "metrics"
COLUMNS = {
    "perplexity.bits_per_byte": "bits per byte ↓",
    "organ_system.accuracy": "organ system accuracy",
    "organ_system.macro_f1": "organ system macro-F1",
    "is_a.accuracy": "yes/no accuracy",
    "is_a.mcc": "yes/no MCC",
    "definition_choice.accuracy": "definition choice",
    "preference.accuracy": "preference accuracy",
}


def read(name: str) -> Any:
    """The content of metrics/<name>.json."""
    return json.loads((METRICS / f"{name}.json").read_text(encoding="utf-8"))


def cell(score: dict[str, Any] | None) -> str:
    """Value and 95 % interval."""
    return f"{score['value']:.3f} ({score['low']:.2f} to {score['high']:.2f})" if score else ""


def line(cells: list[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def models() -> list[str]:
    """Every model with every headline score, then n and the baselines."""
    rows = read("leaderboard")["rows"]
    first = rows[0]["scores"]
    present = {key: label for key, label in COLUMNS.items() if key in first}
    table = [line(["model", *present.values()]), line(["---"] * (len(present) + 1))]
    table += [line([f"`{row['model']}`", *[cell(row["scores"].get(key)) for key in present]]) for row in rows]
    named = [(first[key]["baseline"], first[key]["baseline_name"]) for key in present]
    table.append(line(["baseline", *["" if value is None else f"{value:.3f} {name}" for value, name in named]]))
    return [*table, line(["n", *[str(first[key]["n"]) for key in present]])]


def stages() -> list[str]:
    """What each training stage moved, by its own metrics file."""
    pretrain, sft, reward = read("pretrain"), read("sft"), read("reward")
    dpo, grpo = read("align/dpo")["validation"], read("reinforce/grpo")["validation"]
    untrained, final = (pretrain[key]["validation_bits_per_byte"] for key in ("untrained", "final"))
    losses = [sft[key]["validation_loss"] for key in ("before", "final")]
    rows = [
        ("pretrain", "validation bits per byte", f"{untrained:.3f}", f"{final:.3f}", ""),
        ("sft", "validation loss, nats per answer token", f"{losses[0]:.3f}", f"{losses[1]:.3f}", ""),
        ("reward", "accuracy on held-out pairs", "0.5 (chance)", cell(reward["test"]["pair_accuracy"]), reward["test"]["pair_accuracy"]["n"]),
        ("align@dpo", "mean reward margin on validation pairs", "0 (reference)", cell(dpo["reward_margin"]), dpo["reward_margin"]["n"]),
        ("align@dpo", "win rate over sft, verifiable prompts", "0.5 (reference)", cell(dpo["win_rate_over_reference"]), (dpo["win_rate_over_reference"] or {}).get("n", "")),
        ("reinforce@grpo", "mean reward of sampled answers", cell(grpo["sampled_reward_before"]), cell(grpo["sampled_reward_after"]), grpo["sampled_reward_after"]["n"]),
        ("reinforce@grpo", "gain of reward on the same prompts", "0 (reference)", cell(grpo["sampled_reward_gain"]), grpo["sampled_reward_gain"]["n"]),
    ]
    for path in sorted((METRICS / "quantize").glob("*.json")):
        cost = json.loads(path.read_text(encoding="utf-8"))["validation_bits_per_byte"]
        rows.append((f"quantize@{path.stem}", "validation bits per byte", f"{cost['before']:.4f}", f"{cost['after']:.4f}", ""))
    table = [line(["stage", "figure", "before", "after", "n"]), line(["---"] * 5)]
    return table + [line([f"`{name}`", what, before, after, str(n)]) for name, what, before, after, n in rows]


if __name__ == "__main__":
    print("\n".join([*models(), "", *stages()]))
