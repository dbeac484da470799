"""What a policy answers to held-out prompts, beside what its reference answers."""

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from forgeline.inference.engine import generate
from forgeline.model.compute import autocast
from forgeline.model.traits import max_positions
from forgeline.tokenization.chat import stop_token_ids
from forgeline.training.rewards import exact_reward, is_verifiable
from forgeline.training.trl.held_out import label_logps
from forgeline.training.trl.pairs import RenderedPair
from forgeline.training.trl.params import AlignmentParams
from forgeline.training.trl.preference import answer, mean_score
from forgeline.training.trl.trainer import Context

_BATCH_TOKENS = 8192  # padded tokens of one batch when answering

PromptIds = tuple[int, ...]


def answer_scores(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[RenderedPair],
    params: AlignmentParams,
    context: Context,
) -> dict[str, Any]:
    """Win rate over the reference and divergence from it, measured on answers that the models write themselves.

    `win_rate_over_reference`: over the different prompts whose chosen answer can be verified, greedy answers compared:
    1 where the policy alone is right, 0 where the reference alone is, else one half. None when none can be verified.

    `kl_to_reference`: E[log π(y|x) - log π_ref(y|x)] over one answer y sampled from the policy to each different
    prompt, in nats per answer of at most `max_new_tokens` tokens. Unbiased, so a small one may come out negative.

    Prompts that leave no room for `max_new_tokens` are not asked; both are None when there is no other.
    """
    answers = _Answers(model, tokenizer, params, context)
    asked = {tuple(pair.prompt_ids): pair.pair.chosen for pair in pairs if answers.has_room(pair.prompt_ids)}
    verifiable = {prompt: chosen for prompt, chosen in asked.items() if is_verifiable(chosen)}
    win_rate = answers.win_rate(verifiable) if verifiable else None
    divergence = answers.divergence(list(asked)) if asked else None
    return {
        "win_rate_over_reference": None
        if win_rate is None
        else mean_score(win_rate, 0.5, "reference", params.seed).as_json(),
        "kl_to_reference": None
        if divergence is None
        else mean_score(divergence, 0.0, "reference", params.seed).as_json(),
    }


class _Answers:
    def __init__(
        self, model: PeftModel, tokenizer: PreTrainedTokenizerBase, params: AlignmentParams, context: Context
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._params = params
        self._context = context

    def has_room(self, prompt_ids: Sequence[int]) -> bool:
        limit = max_positions(self._model.config)
        return limit is None or len(prompt_ids) + self._params.max_new_tokens <= limit

    def win_rate(self, asked: dict[PromptIds, str]) -> Tensor:
        """1, 0.5 or 0 for each prompt."""
        policy = self._verdicts(asked)
        with self._model.disable_adapter():
            reference = self._verdicts(asked)
        return (1 + policy - reference) / 2

    def divergence(self, prompts: Sequence[PromptIds]) -> Tensor:
        """The difference log π - log π_ref of an answer to each prompt."""
        generator = torch.Generator().manual_seed(self._params.seed)
        sampled = self._write(prompts, 1.0, generator)
        sequences = [answer(list(prompt), written) for prompt, written in zip(prompts, sampled, strict=True)]
        policy = label_logps(self._model, sequences, self._context.compute)
        with self._model.disable_adapter():
            return policy - label_logps(self._model, sequences, self._context.compute)

    def _verdicts(self, asked: dict[PromptIds, str]) -> Tensor:
        written = self._write(list(asked), 0.0, None)
        texts = [self._tokenizer.decode(ids, skip_special_tokens=True) for ids in written]
        return torch.tensor([exact_reward(text, chosen) for text, chosen in zip(texts, asked.values(), strict=True)])

    def _write(
        self, prompts: Sequence[PromptIds], temperature: float, generator: torch.Generator | None
    ) -> list[list[int]]:
        with autocast(self._context.device, self._context.compute):
            answers = generate(
                self._model,
                prompts,
                max_new_tokens=self._params.max_new_tokens,
                stop_token_ids=stop_token_ids(self._tokenizer),
                pad_token_id=self._tokenizer.pad_token_id,
                temperature=temperature,
                generator=generator,
                batch_tokens=_BATCH_TOKENS,
            )
        return [written.output_ids for written in answers]
