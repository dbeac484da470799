"""What a method of `reinforce` moves: held-out reward before and after, from one model, over several seeds."""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from forgeline.core.params import PARAMS_FILE, plain, read_yaml
from forgeline.core.records import Conversation, read_records
from forgeline.model.compute import set_up
from forgeline.model.params import ComputeParams
from forgeline.training.params.reinforce import MethodParams, ReinforceParams
from forgeline.training.reinforce.train import Inputs, train_reinforce

_LAST_STEPS = 5  # of which the divergence from the reference is the mean
# What a method has beside or in place of the knobs of `reinforce.grpo` in params.yaml, which it otherwise shares.
KNOBS: dict[str, dict[str, Any]] = {
    "grpo": {},
    "rloo": {"whiten_advantages": True},
    "ppo": {
        "num_epochs": 2,
        "gamma": 1.0,
        "gae_lambda": 0.95,
        "whiten_advantages": True,
        "value_clip_range": 0.2,
        "critic_learning_rate": 0.001,
        "critic_warmup_steps": 3,
    },
    "distill": {},
}


def method_params(method: str, **changes: Any) -> MethodParams:
    """The knobs of `reinforce.grpo`, with the method's own and the changes."""
    values = plain(read_yaml(PARAMS_FILE))["reinforce"]["grpo"] | KNOBS[method] | {"method": method} | changes
    if method == "distill":
        values = {name: value for name, value in values.items() if name not in ("clip_range", "kl_coefficient")}
    return ReinforceParams.model_validate(values).root


def main(method: str) -> None:
    """Trains with every seed and prints a row for each, the means, and one JSON object."""
    parser = argparse.ArgumentParser(description=f"Held-out reward before and after {method}.")
    parser.add_argument("sft", type=Path, help="instruction-tuned model folder")
    parser.add_argument("instructions", type=Path, help="folder with train.parquet and validation.parquet")
    parser.add_argument("--teacher", type=Path, default=Path("models/grpo"), help="model folder, of distill")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    rows = []
    print("seed  reward before  after  gain (95 % interval)  exact before  after  KL  CPU seconds", flush=True)
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        params = method_params(method, seed=seed, num_steps=arguments.steps)
        rows.append(_run(params, arguments.sft, arguments.instructions, arguments.teacher))
        row = rows[-1]
        print(
            f"{seed:4}  {row['before']:13.3f}  {row['after']:5.3f}  {row['gain']:.3f} ({row['low']:.3f} to "
            f"{row['high']:.3f})  {row['exact_before']:12.3f}  {row['exact_after']:5.3f}  {row['kl']:.4f}  "
            f"{row['seconds']:.0f}",
            flush=True,
        )
    means = {name: statistics.mean(row[name] for row in rows) for name in rows[0]}
    spread = statistics.stdev(row["gain"] for row in rows) if len(rows) > 1 else None
    print(json.dumps({"name": method, "seeds": len(rows), **means, "gain_stdev": spread}))


def _run(params: MethodParams, sft: Path, instructions: Path, teacher: Path) -> dict[str, float]:
    compute = ComputeParams(num_threads=1, precision="bf16")
    splits = [read_records(instructions / f"{split}.parquet", Conversation) for split in ("train", "validation")]
    device = set_up(compute, params.seed)
    inputs = Inputs(sft, *splits, teacher, Path(params.custom_reward.file))
    start = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        result = train_reinforce(
            "benchmark", inputs, params, compute, device, checkpoints=Path(scratch), log=lambda step, figures: None
        )
    seconds = time.process_time() - start
    scores = result.figures["validation"]
    gain = scores["sampled_reward_gain"]
    return {
        "before": scores["sampled_reward_before"]["value"],
        "after": scores["sampled_reward_after"]["value"],
        "gain": gain["value"],
        "low": gain["low"],
        "high": gain["high"],
        "exact_before": scores["greedy_exact_before"]["value"],
        "exact_after": scores["greedy_exact_after"]["value"],
        "kl": statistics.mean(float(row["kl"] or 0) for row in result.history[-_LAST_STEPS:]),
        "seconds": seconds,
    }
