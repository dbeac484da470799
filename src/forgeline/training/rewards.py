r"""Rewards that a program can verify: the exact answer in `\boxed{}`, and its form. No torch, no model."""

from forgeline.evaluation.answers import BOX, boxed_answer


def exact_reward(output: str, reference: str) -> float:
    """1 if the last boxed answer of `output` is that of `reference`, else 0; no answer is never right."""
    answer = boxed_answer(output)
    return float(answer is not None and answer == boxed_answer(reference))


def format_reward(output: str, ended: bool) -> float:
    r"""1 if `output` holds exactly one `\boxed{...}`, closed and not empty, and the model ended its turn; else 0.

    Args:
        output: The text of the answer, end-of-turn token left out.
        ended: Whether the model wrote the end-of-turn token.
    """
    return float(ended and output.count(BOX) == 1 and bool(boxed_answer(output)))


def is_verifiable(reference: str) -> bool:
    """Whether a reference answer has a boxed part to compare with."""
    return boxed_answer(reference) is not None


def length_reward(num_tokens: int, target: int, limit: int) -> float:
    """1 for at most `target` tokens, then falling in a line to 0 at `limit` (Yu et al. 2025, DAPO, eq. 13, plus 1)."""
    return min(1.0, max(0.0, (limit - num_tokens) / (limit - target)))
