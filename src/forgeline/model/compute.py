"""Where and how torch computes: device, threads, precision, seeds."""

import contextlib
import random
from contextlib import AbstractContextManager

import numpy as np
import torch

from forgeline.model.params import ComputeParams


def set_up(compute: ComputeParams, seed: int) -> torch.device:
    """Seeds every generator, fixes the thread count and picks the device.

    The device is environment, not a parameter: the first GPU if there is one, else the CPU.
    """
    torch.set_num_threads(compute.num_threads)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling every new tensor costs 12 % of a step. (A property of the module, which its annotations leave out.)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(device: torch.device, compute: ComputeParams) -> AbstractContextManager[object]:
    """Mixed precision for a forward pass: products in 16 bits with float32 weights, or nothing for fp32."""
    if compute.precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=product_dtype(compute))


def product_dtype(compute: ComputeParams) -> torch.dtype:
    """The type that matrices are multiplied in."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[compute.precision]
