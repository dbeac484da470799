"""Parameter sets and helpers of the fine-tuning tests."""

from collections.abc import Callable
from pathlib import Path

LORA = {"r": 2, "alpha": 4, "dropout": 0.0, "target_modules": ["v_proj", "q_proj", "down_proj"]}
OPTIMIZATION = {
    "num_steps": 6,
    "learning_rate": 0.01,
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup_steps": 1,
    "max_grad_norm": 1.0,
    "seed": 3,
    "checkpoint_every_steps": 2,
}
BATCHES = {
    **OPTIMIZATION,
    "micro_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "max_length": 96,
    "eval_every_steps": 3,
}
OPTIMIZERS = {
    "adamw": {"learning_rate": 0.01, "betas": [0.9, 0.95], "epsilon": 1e-8, "weight_decay": 0.1},
    "adafactor": {
        "learning_rate": 0.1,
        "beta2_decay": -0.8,
        "epsilon": 1e-15,
        "min_scale": 1e-3,
        "clip_threshold": 1.0,
        "weight_decay": 0.0,
    },
    "lion": {"learning_rate": 0.003, "betas": [0.9, 0.99], "weight_decay": 0.3},
    "sophia": {
        "learning_rate": 0.005,
        "betas": [0.96, 0.99],
        "gamma": 0.05,
        "epsilon": 1e-12,
        "hessian_every_steps": 3,
        "weight_decay": 0.1,
    },
    "muon": {
        "learning_rate": 0.01,
        "muon_learning_rate": 0.02,
        "momentum": 0.95,
        "betas": [0.9, 0.95],
        "epsilon": 1e-8,
        "weight_decay": 0.1,
    },
}
OPTIMIZERS = {name: {"name": name, **knobs} for name, knobs in OPTIMIZERS.items()}
ANSWERS = {"red": "\\boxed{Fire}", "blue": "\\boxed{Sea}", "green": "\\boxed{Leaf}"}


def chat(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def files(folder: Path) -> dict[str, bytes]:
    """Content of every file of a folder by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class Killed(Exception):
    """Stands for `kill -9`: nothing catches it."""


def killer(step: int) -> Callable[[int, object], None]:
    """A live log that dies when told the figures of `step`."""

    def log(number: int, figures: object) -> None:
        if number == step and "train_loss" in figures:  # type: ignore[operator]
            raise Killed

    return log
