"""How much work a stage has: bytes of text for the data stages, floating-point operations for those that use a model.

Operations are counted as in Kaplan et al. 2020 (section 2.1): 2 for each weight and token forward, 4 more backward.
Attention over the context is left out, which at contexts of a few hundred tokens is a few percent.
"""

from collections.abc import Callable, Mapping
from typing import Any

from forgeline.evaluation.params import BUILT_IN_TASKS
from forgeline.model.params import ModelParams
from forgeline.planning.model_size import num_parameters
from forgeline.planning.vocabulary import num_entries

Params = Mapping[str, Any]  # all of params.yaml

_FORWARD, _TRAIN, _TRAIN_ADAPTER = 2, 6, 4  # an adapter needs the gradients of activations, not those of the weights
_RECORD_TOKENS = 48  # of a conversation or an answer with its prompt, where max_length allows more
_TASK_TOKENS = 120  # of an evaluation question with all its choices
_DOCUMENT_TOKENS = 256  # of a held-out document; scored in windows that overlap by half


def operations(address: str, params: Params, num_weights: int) -> float:
    """Floating-point operations of a stage; 0 for those whose time does not come from a model."""
    name, _, key = address.partition("@")
    if name == "align":
        return _from_pairs(params["align"][key]) * num_weights
    if name == "reinforce":
        return _reinforce(params["reinforce"][key]) * num_weights
    count = _COUNTS.get(address) or _COUNTS.get(name)
    return count(params) * num_weights if count else 0.0


def num_weights(params: Params) -> int:
    """Weights of the model that params.yaml describes."""
    return num_parameters(ModelParams.model_validate(params["model"]).root, num_entries(params["tokenizer"]))


def pretraining_tokens(params: Params) -> int:
    """Tokens that pretraining reads, counted as often as they are read."""
    section = params["pretrain"]
    windows = section["num_steps"] * section["micro_batch_size"] * section["gradient_accumulation_steps"]
    return int(windows * params["pack"]["sequence_length"])


def _pretrain(params: Params) -> float:
    section = params["pretrain"]
    num_evaluations = section["num_steps"] // section["eval_every_steps"] + 1
    validation = num_evaluations * section["eval_windows"] * params["pack"]["sequence_length"]
    return float(_TRAIN * pretraining_tokens(params) + _FORWARD * validation)


def _sft(params: Params) -> float:
    train = _TRAIN if params["sft"]["peft"]["kind"] == "none" else _FORWARD + _TRAIN_ADAPTER
    return train * _tokens(params["sft"])


def _reward(params: Params) -> float:
    return _TRAIN * 2 * _tokens(params["reward"])


def _from_pairs(section: Mapping[str, Any]) -> float:
    """DPO reads both answers of a pair; KTO reads one answer, and another one to estimate the divergence from."""
    policy, reference = _FORWARD + _TRAIN_ADAPTER, _FORWARD
    per_answer = {"dpo": 2 * (policy + reference), "orpo": 2 * policy, "kto": policy + reference + 2 * _FORWARD}
    return per_answer[section["method"]] * _tokens(section)


def _reinforce(section: Mapping[str, Any]) -> float:
    tokens = section["max_new_tokens"] + _RECORD_TOKENS / 2
    rollouts = section["num_steps"] * section["prompts_per_step"] * section["group_size"]
    learners = 2 if section["method"] == "ppo" else 1  # a critic learns beside the policy
    learning = learners * section["num_epochs"] * (_FORWARD + _TRAIN_ADAPTER)
    return float(rollouts * tokens * (learning + 2 * _FORWARD))  # the rollout itself, and the reference


def _evaluate(params: Params) -> float:
    scoring, questions = params["evaluate"]["scoring"], params["instructions"]["max_test_per_task"]
    held_out = set(scoring["tasks"]) & set(BUILT_IN_TASKS) - {"perplexity"}  # tasks of files bring their own questions
    asked = len(held_out) * questions * _TASK_TOKENS
    read = scoring["max_documents"] * _DOCUMENT_TOKENS if "perplexity" in scoring["tasks"] else 0
    return float(_FORWARD * (asked + read))


def _benchmark(params: Params) -> float:
    section = params["benchmark"]["workload"]
    tokens = section["num_prompts"] * (section["max_new_tokens"] + _RECORD_TOKENS)
    return float(_FORWARD * 2 * section["num_repeats"] * tokens)  # one prompt at a time, then all at once


def _quantize(params: Params) -> float:
    tokens = [
        (entry.get("calibration_windows", 0) + entry["gate"]["windows"]) * params["pack"]["sequence_length"]
        + entry["gate"]["questions"] * (entry["gate"]["max_new_tokens"] + _RECORD_TOKENS)
        for entry in params["quantize"].values()
    ]
    return float(_FORWARD * 2 * max(tokens))


def _tokens(section: Mapping[str, Any]) -> float:
    records = section["num_steps"] * section["micro_batch_size"] * section["gradient_accumulation_steps"]
    return float(records * min(section["max_length"], _RECORD_TOKENS))


_COUNTS: dict[str, Callable[[Params], float]] = {
    "pretrain": _pretrain,
    "sft": _sft,
    "reward": _reward,
    "evaluate": _evaluate,
    "benchmark": _benchmark,
    "quantize": _quantize,
}
