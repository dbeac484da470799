"""What quantizing cost, in bits per byte of held-out text, and whether that is within bounds."""

import hashlib
import math

import numpy as np
import torch
from transformers import PreTrainedModel

from forgeline.core.errors import DataError, ParamsError
from forgeline.evaluation.likelihood import Span, span_logps
from forgeline.packing.dataset import TokenDataset

_BATCH_TOKENS = 8192


def choose_windows(dataset: TokenDataset, count: int, seed: int, knob: str) -> torch.Tensor:
    """A seeded choice of `count` windows, ids [count, sequence_length + 1] in the order of the stream.

    Raises:
        ParamsError: There are fewer; the message names `knob`.
    """
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
    logps = np.concatenate(span_logps(model, spans, batch_tokens=_BATCH_TOKENS))
    return float(-logps.mean(dtype=np.float64)) / math.log(2) / bytes_per_token


def require_small_increase(before: float, after: float, limit: float, tag: str) -> float:
    """The increase in bits per byte.

    Raises:
        DataError: It is more than `limit`.
    """
    increase = after - before
    if not increase <= limit:
        raise DataError(
            f"quantizing costs {increase:.4f} bits per byte ({before:.4f} -> {after:.4f}), {increase - limit:.4f} more "
            f"than quantize.{tag}.max_bits_per_byte_increase {limit} allows: use more bits, smaller groups or gptq, or "
            "raise the limit"
        )
    return increase
