"""Batched generation with a KV cache: the one loop behind evaluation, rollouts and chat.

Two ways to compute share it: the forward pass of any causal model of transformers, and a Llama packed for speed
(`forgeline.inference.packed`), which is what rollouts use. The caller chooses by what it passes.

Trade-offs: rows of similar length share a batch (little padding), and rows leave the batch, cache included, when they
have ended, so the batch shrinks to what still has to be written. Copying the cache costs a module's pass what one step
costs anyway, because `DynamicCache` grows by concatenation; a packed model waits until a quarter of the rows has ended.
Uniform numbers are drawn for all prompts before the first step: what a prompt samples does not depend on which prompts
it shares a batch with.

Shapes: B rows still being written, T tokens so far, N prompts, S steps, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel

from forgeline.core.errors import DataError
from forgeline.model.batches import batches_by_length, evaluation_mode
from forgeline.model.traits import cache_argument, max_positions


@dataclass(frozen=True)
class Generation:
    """What a model wrote after one prompt.

    Attributes:
        output_ids: New tokens, the stop token included when there is one.
        logps: Natural-log probability of each under the distribution it was drawn from: softmax(logits / temperature);
            under greedy decoding softmax(logits).
    """

    output_ids: list[int]
    logps: list[float]


class Batch(Protocol):
    """Rows that are being continued, with their cache.

    Attributes:
        keep_below: Rows that have ended are taken out when fewer than this share of the rows go on.
    """

    keep_below: float

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Float32 logits [B, V] after one more token for each row [B]."""

    def keep(self, rows: torch.Tensor) -> None:
        """Goes on with these rows alone."""


class PackedModel(Protocol):
    """Weights laid out for generation; `forgeline.inference.packed` has them for Llamas."""

    config: PreTrainedConfig
    device: torch.device

    def begin(self, prompts: Sequence[Sequence[int]]) -> tuple[Batch, torch.Tensor]:
        """Reads the prompts; the logits [B, V] are those of their next tokens."""


def generate(
    model: PreTrainedModel | PackedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop_token_ids: Sequence[int],
    pad_token_id: int,
    temperature: float,
    generator: torch.Generator | None,
    batch_tokens: int,
) -> list[Generation]:
    """Continues every prompt until a stop token or `max_new_tokens`.

    Args:
        model: A causal language model, which is put in evaluation mode meanwhile, or a packed one.
        prompts: Token ids, none empty.
        max_new_tokens: Most tokens to write.
        stop_token_ids: A row ends after any of these.
        pad_token_id: Fills the left of shorter prompts; masked, so its value does not matter.
        temperature: 0 takes the likeliest token, above 0 samples.
        generator: Source of randomness when sampling; None only when greedy.
        batch_tokens: Most tokens of one batch, padding and new tokens included (a single row may exceed it).

    Returns:
        One `Generation` for each prompt, in the order of `prompts`.

    Raises:
        DataError: A prompt is empty or leaves no room for its answer, the model's logits are not numbers, or its
            architecture has no cache.
    """
    if temperature > 0 and generator is None:
        raise ValueError("sampling needs a generator")
    _check_lengths(model, prompts, max_new_tokens)
    draws = None
    if temperature > 0 and generator is not None:
        draws = torch.rand((len(prompts), max_new_tokens), generator=generator, device=generator.device)
    stop = torch.tensor(sorted(stop_token_ids), dtype=torch.long, device=model.device)
    results: list[Generation | None] = [None] * len(prompts)
    mode = evaluation_mode(model) if isinstance(model, torch.nn.Module) else torch.inference_mode()
    with mode, torch.no_grad():
        for rows in batches_by_length([len(prompt) + max_new_tokens for prompt in prompts], batch_tokens):
            uniforms = None if draws is None else draws[rows].to(model.device)
            batch = [prompts[row] for row in rows]
            written = _generate_batch(model, batch, max_new_tokens, stop, pad_token_id, temperature, uniforms)
            for row, generation in zip(rows, written, strict=True):
                results[row] = generation
    return [result for result in results if result is not None]


def _generate_batch(
    model: PreTrainedModel | PackedModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop: torch.Tensor,
    pad_token_id: int,
    temperature: float,
    uniforms: torch.Tensor | None,
) -> list[Generation]:
    device = model.device
    tokens = torch.zeros((len(prompts), max_new_tokens), dtype=torch.long, device=device)
    logps = torch.zeros((len(prompts), max_new_tokens), dtype=torch.float32, device=device)
    lengths = torch.zeros(len(prompts), dtype=torch.long, device=device)
    rows = torch.arange(len(prompts), device=device)  # [B] which prompt each row of the batch continues
    going_on = torch.ones(len(prompts), dtype=torch.bool, device=device)  # [B]
    num_going_on = len(prompts)
    batch: Batch
    if isinstance(model, torch.nn.Module):
        batch, logits = _ModuleBatch.begin(model, prompts, pad_token_id)
    else:
        batch, logits = model.begin(prompts)
    for step in range(max_new_tokens):
        chosen, chosen_logps = _choose(logits, temperature, None if uniforms is None else uniforms[rows, step])
        active, new, new_logps = rows, chosen, chosen_logps
        if num_going_on < len(rows):  # some have ended and are still here
            active, new, new_logps = rows[going_on], chosen[going_on], chosen_logps[going_on]
        tokens[active, step], logps[active, step], lengths[active] = new, new_logps, step + 1
        going_on = going_on & torch.isin(chosen, stop, invert=True)
        num_going_on = int(going_on.sum())
        if num_going_on == 0 or step + 1 == max_new_tokens:
            break
        if num_going_on < batch.keep_below * len(rows):
            kept = going_on.nonzero().squeeze(1)
            batch.keep(kept)
            rows, chosen, going_on = rows[kept], chosen[kept], going_on[kept]
        logits = batch.step(chosen)
    written = zip(tokens.tolist(), logps.tolist(), lengths.tolist(), strict=True)
    return [Generation(ids[:length], values[:length]) for ids, values, length in written]


class _ModuleBatch:
    """Rows that a model of transformers continues by its own forward pass and cache."""

    keep_below = 1.0

    def __init__(self, model: PreTrainedModel, attention_mask: torch.Tensor) -> None:
        cache_name = cache_argument(model)
        if cache_name is None:
            raise DataError(
                f"a {model.config.model_type} model has no cache that generation can use: take another family"
            )
        self._model = model
        self._cache_name = cache_name
        self._cache = DynamicCache(config=model.config)
        self._attention_mask = attention_mask
        self._position_ids = (attention_mask.cumsum(1) - 1).clamp(min=0)

    @classmethod
    def begin(
        cls, model: PreTrainedModel, prompts: Sequence[Sequence[int]], pad_token_id: int
    ) -> tuple["_ModuleBatch", torch.Tensor]:
        input_ids, attention_mask = _left_pad(prompts, pad_token_id, model.device)
        batch = cls(model, attention_mask)
        return batch, batch._forward(input_ids)

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        self._position_ids = self._position_ids[:, -1:] + 1
        ones = self._attention_mask.new_ones((len(tokens), 1))
        self._attention_mask = torch.cat([self._attention_mask, ones], dim=1)
        return self._forward(tokens[:, None])

    def keep(self, rows: torch.Tensor) -> None:
        self._cache.reorder_cache(rows)  # beam search's own method, the one that recurrent states have too
        self._attention_mask, self._position_ids = self._attention_mask[rows], self._position_ids[rows]

    def _forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._model(
            input_ids=input_ids,
            attention_mask=self._attention_mask,
            position_ids=self._position_ids,
            use_cache=True,
            logits_to_keep=1,
            **{self._cache_name: self._cache},
        ).logits
        return logits[:, -1].float()


def _choose(
    logits: torch.Tensor, temperature: float, uniforms: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Next tokens [B] and their log-probabilities [B] from logits [B, V] and, when sampling, uniform numbers [B]."""
    if uniforms is None:
        chosen = logits.argmax(dim=-1)
        logps = logits.gather(1, chosen[:, None]).squeeze(1) - logits.logsumexp(dim=-1)
    else:
        probabilities = (logits if temperature == 1 else logits / temperature).softmax(dim=-1)
        chosen = _invert_cdf(probabilities, uniforms)
        logps = probabilities.gather(1, chosen[:, None]).squeeze(1).log()
    if bool(logps.isnan().any()):
        raise DataError("the model's logits are not numbers: its weights are corrupt or its training diverged")
    return chosen, logps


def _invert_cdf(probabilities: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """The first token whose cumulative probability exceeds the uniform number (many times faster than `multinomial`).

    The number is held below the total, which rounding can leave short of 1, so a token of probability 0 is never drawn.
    """
    cumulative = probabilities.cumsum(dim=-1)
    total = cumulative[:, -1]
    target = torch.minimum(uniforms * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target[:, None], right=True).squeeze(1).clamp(max=probabilities.shape[1] - 1)


def _left_pad(
    prompts: Sequence[Sequence[int]], pad_token_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask, both [B, T], with every prompt ending in the last column."""
    longest = max(len(prompt) for prompt in prompts)
    ids = [[pad_token_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _check_lengths(model: PreTrainedModel | PackedModel, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
    limit = max_positions(model.config)
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise DataError(f"prompt {index} is empty: it needs at least one token")
        if limit is not None and len(prompt) + max_new_tokens > limit:
            raise DataError(
                f"prompt {index} has {len(prompt)} tokens and max_new_tokens is {max_new_tokens}, together more than "
                f"the model's max_position_embeddings {limit}: lower max_new_tokens or shorten the prompts"
            )
