"""Loading a model to put a new LoRA adapter on, and naming the adapter's parent."""

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel
from transformers import PreTrainedModel

from forgeline.core.errors import ParamsError
from forgeline.model.loading import load_model
from forgeline.training.params.lora import LoraParams


def load_plain(path: Path, device: torch.device) -> PreTrainedModel:
    """The model in a folder as plain weights; its own adapter, if it is one, is merged in memory."""
    model = load_model(path, device)
    return model.merge_and_unload() if isinstance(model, PeftModel) else model


def lora_config(model: PreTrainedModel, params: LoraParams) -> LoraConfig:
    """PEFT's form of the parameters, for an adapter that changes nothing at first (B is 0).

    Raises:
        ParamsError: The model has no layer of one of the names.
    """
    layers = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    unknown = sorted(set(params.target_modules) - layers)
    if unknown:
        raise ParamsError(
            f"lora.target_modules: the model has no layer {', '.join(unknown)}: remove it from params.yaml"
        )
    return LoraConfig(
        r=params.r,
        lora_alpha=params.alpha,
        lora_dropout=params.dropout,
        target_modules=params.target_modules,
        task_type="CAUSAL_LM",
    )


def name_parent(model: PeftModel, parent: Path) -> None:
    """Notes the folder, relative to the repository root, that the adapter is to be put on when it is loaded."""
    model.peft_config["default"].base_model_name_or_path = parent.as_posix()


def num_parameters(model: torch.nn.Module) -> tuple[int, int]:
    """How many weights are trainable, and how many there are."""
    sizes = [(weights.numel(), weights.requires_grad) for weights in model.parameters()]
    return sum(size for size, trainable in sizes if trainable), sum(size for size, _ in sizes)
