"""Preference pairs as token ids."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from forgeline.core.errors import DataError
from forgeline.core.records import PreferencePair
from forgeline.tokenization.chat import render_conversation, render_prompt


@dataclass(frozen=True)
class RenderedPair:
    """A prompt up to the assistant's header and two answers, each ending with the end-of-turn token."""

    pair: PreferencePair
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]

    @property
    def length(self) -> int:
        """Tokens of the prompt with the longer answer."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))


def render_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[PreferencePair], max_length: int
) -> list[RenderedPair]:
    """The pairs that fit into `max_length` tokens, in order.

    Raises:
        DataError: None does.
    """
    rendered = [_render(tokenizer, pair) for pair in pairs]
    kept = [pair for pair in rendered if pair.length <= max_length]
    if not kept:
        raise DataError(f"none of {len(pairs)} preference pairs fits into max_length {max_length} tokens: raise it")
    return kept


def _render(tokenizer: PreTrainedTokenizerBase, pair: PreferencePair) -> RenderedPair:
    prompt = render_prompt(tokenizer, pair.prompt)
    chosen, rejected = (
        render_conversation(tokenizer, [*pair.prompt, {"role": "assistant", "content": answer}]).input_ids
        for answer in (pair.chosen, pair.rejected)
    )
    return RenderedPair(pair, prompt, chosen[len(prompt) :], rejected[len(prompt) :])
