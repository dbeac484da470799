"""What quantizing cost, in bits per byte of held-out text and in right answers, and whether that is within bounds."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.records import Conversation, Message
from forgeline.evaluation.answers import boxed_answer
from forgeline.evaluation.likelihood import Span, span_logps
from forgeline.inference.engine import generate
from forgeline.packing.dataset import TokenDataset
from forgeline.quantization.params import LibraryMethod, OwnMethod
from forgeline.tokenization.chat import render_prompt, stop_token_ids

_BATCH_TOKENS = 8192
_BATCH_LOGITS = 2**25  # fewer tokens go together where the vocabulary is large: 128 MiB of logits in float32


@dataclass(frozen=True)
class Question:
    """Turns to answer with the tools of their conversation, and what has to stand in the box."""

    prompt: list[Message]
    answer: str
    tools: str = ""


def choose_windows(dataset: TokenDataset, count: int, seed: int, knob: str) -> torch.Tensor:
    """A seeded choice of `count` windows, ids [count, sequence_length + 1] in the order of the stream.

    Raises:
        ParamsError: There are fewer; the message names `knob`.
        DataError: There is not even one.
    """
    if len(dataset) == 0:
        raise DataError(
            f"{knob}: the split holds fewer tokens than one window of pack.sequence_length: lower that or add text"
        )
    if count > len(dataset):
        raise ParamsError(f"params.yaml: {knob} {count} is more than the {len(dataset)} windows there are: lower it")
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:count]
    return torch.from_numpy(dataset.windows(np.sort(chosen)))


def windows_sha256(windows: torch.Tensor) -> str:
    """Hex SHA-256 of token ids as little-endian 64-bit integers."""
    return hashlib.sha256(windows.numpy().astype("<i8").tobytes()).hexdigest()


def bits_per_byte(model: PreTrainedModel, windows: torch.Tensor, bytes_per_token: float) -> float:
    """Mean bits per UTF-8 byte over all predicted tokens of `windows` [n, T + 1].

    Args:
        model: A causal language model.
        windows: Token ids.
        bytes_per_token: Of the split the windows come from.
    """
    spans = [Span(ids, 1) for ids in windows.tolist()]
    batch_tokens = max(1, min(_BATCH_TOKENS, _BATCH_LOGITS // model.config.vocab_size))
    logps = np.concatenate(span_logps(model, spans, batch_tokens=batch_tokens))
    return float(-logps.mean(dtype=np.float64)) / math.log(2) / bytes_per_token


def boxed_questions(
    conversations: Sequence[Conversation], params: OwnMethod | LibraryMethod, name: str
) -> list[Question]:
    """A seeded choice of at most `gate.questions` validation questions whose answers can be judged.

    Raises:
        ParamsError: Some are asked for and there are none; the message names the section `name`.
    """
    if params.gate.questions == 0:
        return []
    known = [
        Question(conversation.messages[:-1], boxed, conversation.tools)
        for conversation in conversations
        if (boxed := boxed_answer(conversation.messages[-1]["content"]))
    ]
    if not known:
        raise ParamsError(
            f"params.yaml: quantize.{name}.gate.questions {params.gate.questions}: no validation conversation has a "
            "boxed answer to compare with: set it to 0"
        )
    chosen = np.random.default_rng(params.seed).permutation(len(known))[: params.gate.questions]
    return [known[index] for index in sorted(chosen.tolist())]


def answer_rates(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[Question], max_new_tokens: int
) -> dict[str, float]:
    """Shares of greedy answers that are right (`accuracy`) and that hold an answer at all (`format_rate`)."""
    written = generate(
        model,
        [render_prompt(tokenizer, question.prompt, question.tools) for question in questions],
        max_new_tokens=max_new_tokens,
        stop_token_ids=stop_token_ids(tokenizer),
        pad_token_id=int(tokenizer.pad_token_id),
        temperature=0.0,
        generator=None,
        batch_tokens=_BATCH_TOKENS,
    )
    answers = [boxed_answer(str(tokenizer.decode(each.output_ids, skip_special_tokens=True))) for each in written]
    right = [answer == question.answer for answer, question in zip(answers, questions, strict=True)]
    return {
        "accuracy": sum(right) / len(questions),
        "format_rate": sum(answer is not None for answer in answers) / len(questions),
    }


def require_small_increase(before: float, after: float, limit: float, name: str) -> float:
    """The increase in bits per byte.

    Raises:
        DataError: It is more than `limit`.
    """
    increase = after - before
    if not increase <= limit:
        raise DataError(
            f"quantizing costs {increase:.4f} bits per byte ({before:.4f} -> {after:.4f}), {increase - limit:.4f} more "
            f"than quantize.{name}.gate.max_bits_per_byte_increase {limit} allows: use more bits, smaller groups or "
            "gptq, or raise the limit"
        )
    return increase


def require_small_drop(
    kind: Literal["accuracy", "format_rate"], before: float, after: float, limit: float, name: str
) -> float:  # fmt: skip
    """How much a share of answers fell.

    Raises:
        DataError: It is more than `limit`.
    """
    drop = before - after
    if not drop <= limit:
        raise DataError(
            f"quantizing lowers {kind} by {drop:.4f} ({before:.4f} -> {after:.4f}), {drop - limit:.4f} more than "
            f"quantize.{name}.gate.max_{kind}_drop {limit} allows: use more bits, smaller groups or gptq, or raise the "
            "limit"
        )
    return drop
