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
        raise DataError(_nothing_fits(rendered, max_length))
    return kept


def _nothing_fits(pairs: Sequence[RenderedPair], max_length: int) -> str:
    if not pairs:
        return "there are no preference pairs of this split: add some to preferences.sets"
    long_prompts = sum(len(pair.prompt_ids) >= max_length for pair in pairs)
    shortest = min(pair.length for pair in pairs)
    return (
        f"none of {len(pairs)} preference pairs fits into max_length {max_length} tokens (the shortest has {shortest}; "
        f"{long_prompts} have a prompt that fills it): raise it"
    )


def _render(tokenizer: PreTrainedTokenizerBase, pair: PreferencePair) -> RenderedPair:
    prompt = render_prompt(tokenizer, pair.prompt)
    chosen, rejected = (
        render_conversation(tokenizer, [*pair.prompt, {"role": "assistant", "content": answer}]).input_ids
        for answer in (pair.chosen, pair.rejected)
    )
    return RenderedPair(pair, prompt, chosen[len(prompt) :], rejected[len(prompt) :])
