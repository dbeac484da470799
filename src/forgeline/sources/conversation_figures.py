"""What a set of conversations is like, for the report: lengths and turns."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from forgeline.core.records import Conversation

_MOST_TURNS = 16  # more are counted together


def describe(conversations: Sequence[Conversation]) -> dict[str, Any]:
    """Histograms of conversations.

    Returns:
        `characters`: how many have at most so many and more than the next smaller power of two; `turns`: how many have
        so many, system prompts not counted; `num_with_system`, `num_with_tools`.
    """
    lengths = Counter(_power_of_two(sum(len(turn["content"]) for turn in found.messages)) for found in conversations)
    turns = Counter(min(_MOST_TURNS, _num_turns(found)) for found in conversations)
    return {
        "characters": {str(edge): lengths[edge] for edge in sorted(lengths)},
        "turns": {str(number): turns[number] for number in sorted(turns)},
        "num_with_system": sum(found.messages[0]["role"] == "system" for found in conversations),
        "num_with_tools": sum(bool(found.tools) for found in conversations),
    }


def _power_of_two(length: int) -> int:
    """The smallest power of two that is not below `length`, at least 32."""
    return int(max(32, 1 << (length - 1).bit_length()))


def _num_turns(conversation: Conversation) -> int:
    return sum(turn["role"] != "system" for turn in conversation.messages)
