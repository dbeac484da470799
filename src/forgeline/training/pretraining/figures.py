"""How fast training is: tokens per second, share of the device's peak, memory. For the live log; never artefacts."""

import time
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PretrainedConfig

from forgeline.core.process import peak_memory_bytes

# Dense bf16 (T4, V100: fp16) tensor-core peaks of NVIDIA's data sheets, in FLOP/s, by a part of the device's name. The
# first match counts.
PEAKS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "GH200": 989e12,
    "A100": 312e12,
    "A800": 312e12,
    "A40": 150e12,
    "A30": 165e12,
    "A10G": 70e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "RTX 6000 Ada": 364e12,
    "RTX A6000": 155e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
    "V100": 125e12,
    "T4": 65e12,
}
_PROBE_SIZE = 1024
_PROBE_RUNS = 5
_MEGABYTE = 1024**2


def flops_per_token(model: nn.Module, sequence_length: int) -> float:
    """FLOPs of a training step per token: 6N + 12LHQT (Chowdhery et al. 2022, PaLM, appendix B).

    N counts the weights that are multiplied with, so not an input embedding that is no output head as well; of frozen
    weights no gradient is computed, which spares a third. Attention counts in full though half of it is masked, as in
    the paper. Of architectures without attention only the first term is meaningful.

    Args:
        model: With its `config`; an adapter's model counts the adapter too.
        sequence_length: T.
    """
    config: PretrainedConfig = model.config
    embedding = model.get_input_embeddings().weight  # type: ignore[operator]
    tied = bool(getattr(config, "tie_word_embeddings", False))
    parameters = [weights for weights in model.parameters() if tied or weights is not embedding]
    frozen = sum(4 * weights.numel() for weights in parameters if not weights.requires_grad)
    trained = sum(6 * weights.numel() for weights in parameters if weights.requires_grad)
    heads = getattr(config, "num_attention_heads", None) or 0
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // max(heads, 1))
    return float(frozen + trained + 12 * config.num_hidden_layers * width * sequence_length)


@dataclass(frozen=True)
class Peak:
    """The most FLOP/s a device can do, and how that is known."""

    flops_per_second: float
    origin: str


def peak_of(device: torch.device, dtype: torch.dtype) -> Peak:
    """By the table for known GPUs; measured by multiplying matrices for everything else.

    Args:
        device: Where the model computes.
        dtype: What it multiplies in.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for part, flops in PEAKS.items():
            if part in name and dtype != torch.float32:
                return Peak(flops, f"data sheet of {part}")
    return Peak(_measured_peak(device, dtype), f"measured on {device.type}, {str(dtype).removeprefix('torch.')}")


def _measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    matrix = torch.full((_PROBE_SIZE, _PROBE_SIZE), 0.5, device=device, dtype=dtype)  # draws no random numbers
    best = float("inf")
    for _ in range(_PROBE_RUNS):
        start = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * _PROBE_SIZE**3 / best


def peak_memory_megabytes(device: torch.device) -> float:
    """Most memory so far: of the GPU where there is one, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _MEGABYTE
    return peak_memory_bytes() / _MEGABYTE


class Speed:
    """The figures of measured time of one step after the other."""

    def __init__(
        self, flops_per_step: float, tokens_per_step: int, peak: Peak, num_devices: int, device: torch.device
    ) -> None:
        """Notes what does not change.

        Args:
            flops_per_step: Over all processes.
            tokens_per_step: Over all processes.
            peak: Of one device.
            num_devices: How many there are of it.
            device: Whose memory is shown.
        """
        self._flops = flops_per_step
        self._tokens = tokens_per_step
        self._peak = peak.flops_per_second * num_devices
        self._device = device

    def figures(self, seconds: float) -> dict[str, float]:
        """Of a step that took so long."""
        return {
            "tokens_per_second": self._tokens / seconds,
            "model_flops_utilization": self._flops / seconds / self._peak,
            "peak_memory_megabytes": peak_memory_megabytes(self._device),
        }
