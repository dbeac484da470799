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
_LOW_RANK = {**LORA, "rslora": False, "train_embeddings": "none", "earlier": None}
_VERA = {"r": 4, "d_initial": 0.1, "dropout": 0.0, "target_modules": LORA["target_modules"], "earlier": None}
PEFT = {
    "none": {"kind": "none"},
    "lora": {"kind": "lora", **_LOW_RANK},
    "dora": {"kind": "dora", **_LOW_RANK},
    "vera": {"kind": "vera", **_VERA},
    "qlora": {"kind": "qlora", **_LOW_RANK, "double_quantization": True, "paged_optimizer": True},
    "int8": {"kind": "int8", **_LOW_RANK},
}
SFT = {
    **BATCHES,
    "peft": PEFT["none"],
    "truncation": "drop",
    "packing": False,
    "assistant_only_loss": True,
    "neftune_alpha": None,
    "final_weights": "last",
    "eval_conversations": 4,
    "sample_conversations": 1,
    "sample_tokens": 4,
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
