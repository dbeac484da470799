"""Batched generation with a KV cache: the one loop behind evaluation, rollouts and chat.

Trade-offs: rows of similar length share a batch (little padding), and a row leaves the batch, cache included, as soon
as it ends, so the batch shrinks to what still has to be written. Copying the cache then costs what one step costs
anyway, because `DynamicCache` grows by concatenation. Uniform numbers are drawn for all prompts before the first step:
what a prompt samples does not depend on which prompts it shares a batch with.

Shapes: B rows still being written, T tokens so far, N prompts, S steps, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedModel

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


def generate(
    model: PreTrainedModel,
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
        model: A causal language model; it is put in evaluation mode meanwhile.
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
    with evaluation_mode(model), torch.no_grad():
        for rows in batches_by_length([len(prompt) + max_new_tokens for prompt in prompts], batch_tokens):
            uniforms = None if draws is None else draws[rows].to(model.device)
            batch = [prompts[row] for row in rows]
            written = _generate_batch(model, batch, max_new_tokens, stop, pad_token_id, temperature, uniforms)
            for row, generation in zip(rows, written, strict=True):
                results[row] = generation
    return [result for result in results if result is not None]


def _generate_batch(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop: torch.Tensor,
    pad_token_id: int,
    temperature: float,
    uniforms: torch.Tensor | None,
) -> list[Generation]:
    input_ids, attention_mask = _left_pad(prompts, pad_token_id, model.device)
    position_ids = (attention_mask.cumsum(1) - 1).clamp(min=0)
    tokens = torch.zeros((len(prompts), max_new_tokens), dtype=torch.long, device=model.device)
    logps = torch.zeros((len(prompts), max_new_tokens), dtype=torch.float32, device=model.device)
    lengths = torch.zeros(len(prompts), dtype=torch.long, device=model.device)
    rows = torch.arange(len(prompts), device=model.device)  # [B] which prompt each row of the batch continues
    cache = DynamicCache(config=model.config)
    cache_name = cache_argument(model)
    if cache_name is None:
        raise DataError(f"a {model.config.model_type} model has no cache that generation can use: take another family")
    for step in range(max_new_tokens):
        logits = model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=True,
            logits_to_keep=1,
            **{cache_name: cache},
        ).logits[:, -1].float()  # fmt: skip
        chosen, chosen_logps = _choose(logits, temperature, None if uniforms is None else uniforms[rows, step])
        tokens[rows, step], logps[rows, step], lengths[rows] = chosen, chosen_logps, step + 1
        going_on = torch.isin(chosen, stop, invert=True).nonzero().squeeze(1)
        if len(going_on) == 0:
            break
        position_ids = position_ids[:, -1:] + 1
        if len(going_on) < len(rows):
            cache.reorder_cache(going_on)  # beam search's own method, the one that recurrent states have too
            rows, chosen = rows[going_on], chosen[going_on]
            attention_mask, position_ids = attention_mask[going_on], position_ids[going_on]
        input_ids = chosen[:, None]
        attention_mask = torch.cat([attention_mask, attention_mask.new_ones((len(rows), 1))], dim=1)
    written = zip(tokens.tolist(), logps.tolist(), lengths.tolist(), strict=True)
    return [Generation(ids[:length], values[:length]) for ids, values, length in written]


def _choose(
    logits: torch.Tensor, temperature: float, uniforms: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Next tokens [B] and their log-probabilities [B] from logits [B, V] and, when sampling, uniform numbers [B]."""
    if uniforms is None:
        chosen = logits.argmax(dim=-1)
    else:
        logits = logits / temperature
        chosen = _invert_cdf(logits.softmax(dim=-1), uniforms)
    logps = logits.gather(1, chosen[:, None]).squeeze(1) - logits.logsumexp(dim=-1)
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


def _check_lengths(model: PreTrainedModel, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
    limit = max_positions(model.config)
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise DataError(f"prompt {index} is empty: it needs at least one token")
        if limit is not None and len(prompt) + max_new_tokens > limit:
            raise DataError(
                f"prompt {index} has {len(prompt)} tokens and max_new_tokens is {max_new_tokens}, together more than "
                f"the model's max_position_embeddings {limit}: lower max_new_tokens or shorten the prompts"
            )
