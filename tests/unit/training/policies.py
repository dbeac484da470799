"""Parameters of every method for a toy run, and a judge that any model can learn to please."""

from typing import Any

from tests.unit.training.toys import LORA, OPTIMIZATION

from forgeline.training.params.reinforce import MethodParams, ReinforceParams
from forgeline.training.reinforce.rollouts import Prompt

PROMPTS = [Prompt((2, 50 + i, 60, 3), "") for i in range(6)]
GOOD = 77
CLIPPED = {"clip_range": 0.2, "kl_coefficient": 0.02}
METHODS: dict[str, dict[str, Any]] = {
    "grpo": CLIPPED,
    "rloo": {**CLIPPED, "whiten_advantages": False},
    "ppo": {
        **CLIPPED,
        "gamma": 1.0,
        "gae_lambda": 0.95,
        "whiten_advantages": True,
        "value_clip_range": 0.2,
        "critic_learning_rate": 0.01,
        "critic_warmup_steps": 1,
    },
    "distill": {},
}


def policy_params(method: str = "grpo", **changes: Any) -> MethodParams:
    values = {
        **OPTIMIZATION,
        **METHODS[method],
        "method": method,
        "schedule": "constant",
        "lora": LORA,
        "scoring_model": "models/reward",
        "tasks": ["color"],
        "prompts_per_step": 4,
        "group_size": 4,
        "temperature": 1.0,
        "max_new_tokens": 3,
        "num_epochs": 2,
        "minibatch_size": 8,
        "reward_weights": {"exact": 1.0, "format": 0.1, "length": 0.0, "model": 0.0, "custom": 0.0},
        "length_target": 2,
        "custom_reward": {"file": "configs/rewards/brevity.py", "function": "brevity"},
        "missing_eos_penalty": 0.0,
        "eval_prompts": 4,
    }
    return ReinforceParams.model_validate({**values, **changes}).root


def weights(**changes: float) -> dict[str, float]:
    return {"exact": 0.0, "format": 0.0, "length": 0.0, "model": 0.0, "custom": 0.0, **changes}


def good_tokens(prompts, answers):
    return [{"reward": sum(token < GOOD for token in answer) / 3} for answer in answers]
