"""What an answer earns: several rewards, weighted."""

from collections.abc import Callable, Sequence

from transformers import PreTrainedTokenizerBase

from forgeline.training.params.reinforce import MethodParams
from forgeline.training.reinforce.custom_reward import RewardFunction
from forgeline.training.reinforce.loop import Judge
from forgeline.training.reinforce.rollouts import Prompt
from forgeline.training.rewards import exact_reward, format_reward, length_reward

Score = Callable[[Sequence[tuple[int, ...]]], list[float]]


def make_judge(
    tokenizer: PreTrainedTokenizerBase,
    stop_token_ids: Sequence[int],
    params: MethodParams,
    score: Score | None,
    custom: RewardFunction | None,
) -> Judge:
    """Tells `reward`, the parts it is the weighted sum of, and whether the answer was cut (`share_truncated`).

    Args:
        tokenizer: Of the policy.
        stop_token_ids: An answer that ends with none of them was cut.
        params: Weights and what they need.
        score: The reward model, where it has a weight.
        custom: The user's function, where it has one.
    """
    weights = params.reward_weights

    def judge(prompts: Sequence[Prompt], answers: Sequence[Sequence[int]]) -> list[dict[str, float]]:
        texts = [tokenizer.decode(list(answer), skip_special_tokens=True) for answer in answers]
        rows: list[dict[str, float]] = []
        for prompt, answer, text in zip(prompts, answers, texts, strict=True):
            ended = bool(answer) and answer[-1] == tokenizer.eos_token_id
            row = {"exact": exact_reward(text, prompt.reference), "format": format_reward(text, ended)}
            if weights.length:
                row["length"] = length_reward(len(answer), params.length_target, params.max_new_tokens)
            rows.append({**row, "share_truncated": float(not answer or answer[-1] not in stop_token_ids)})
        if score is not None:
            pairs = zip(prompts, answers, strict=True)
            values = score([(*prompt.input_ids, *answer) for prompt, answer in pairs])
            rows = [{**row, "model": value} for row, value in zip(rows, values, strict=True)]
        if custom is not None:
            asked = [tokenizer.decode(list(prompt.input_ids)) for prompt in prompts]
            values = custom(asked, texts, [prompt.reference for prompt in prompts])
            rows = [{**row, "custom": value} for row, value in zip(rows, values, strict=True)]
        return [{"reward": _weighted(row, params), **row} for row in rows]

    return judge


def _weighted(row: dict[str, float], params: MethodParams) -> float:
    weights = params.reward_weights.model_dump()
    earned = sum(weight * row[name] for name, weight in weights.items() if name in row)
    return float(earned - params.missing_eos_penalty * row["share_truncated"])
