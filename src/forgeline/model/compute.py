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
    """Mixed precision for a forward pass: bfloat16 products with float32 weights, or nothing for fp32."""
    if compute.precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()
