"""A model on a terminal: how large it is, and what a step of training it holds in memory."""

from collections.abc import Mapping
from typing import Any

from forgeline.model.presets import Preset
from forgeline.planning.model_size import num_parameters
from forgeline.planning.step_memory import StepMemory, pretraining_memory


def model_view(preset: Preset, params: Mapping[str, Any]) -> str:
    """Lines about a preset that is now in params.yaml.

    Args:
        preset: The architecture.
        params: All of params.yaml.
    """
    lines = [f"params.yaml: model is now {preset.name}"]
    lines.append(f"  {num_parameters(preset.params, preset.vocab_size):,} parameters, vocabulary {preset.vocab_size:,}")
    vocab_size = params["tokenizer"]["vocab_size"]
    if vocab_size != preset.vocab_size:
        here = num_parameters(preset.params, vocab_size)
        lines.append(f"  {here:,} parameters here, with tokenizer.vocab_size {vocab_size:,}")
    memory = pretraining_memory(params)
    if memory is not None:
        section = params["pretrain"]
        size = f"{section['micro_batch_size']} x {params['pack']['sequence_length']} tokens"
        step = f"{size}, {section['optimizer']['name']}, {params['compute']['precision']}"
        lines.append(f"  a step of pretraining ({step}) holds {megabytes(memory.peak)}: {_parts(memory)}")
    return "\n".join(lines)


def megabytes(num_bytes: int) -> str:
    """In millions of bytes."""
    return f"{num_bytes / 1e6:,.0f} MB"


def _parts(memory: StepMemory) -> str:
    parts = {
        "weights": memory.weights,
        "gradients": memory.gradients,
        "optimizer": memory.optimizer,
        "activations": memory.activations,
    }
    return ", ".join(f"{name} {megabytes(size)}" for name, size in parts.items())
