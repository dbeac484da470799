"""What several processes of a run have to do together: agree, and gather what is spread over them."""

from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer
from transformers import AutoModelForCausalLM
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True, broadcast_from_rank0=True)


def agreed(accelerator: Accelerator, value: bool) -> bool:
    """Whether any process says so. A signal reaches them at different steps."""
    if accelerator.num_processes == 1:
        return value
    return bool(accelerator.reduce(torch.tensor(float(value), device=accelerator.device)) > 0)


def by_deepspeed(accelerator: Accelerator) -> bool:
    """Whether DeepSpeed spreads the work: it keeps optimizer state to itself."""
    return bool(accelerator.distributed_type == DistributedType.DEEPSPEED)


def model_state(accelerator: Accelerator, network: nn.Module, model: nn.Module) -> dict[str, Any]:
    """All weights on the main process; of weights that every process has whole, simply these.

    Args:
        accelerator: What has prepared the network.
        network: The `LossNetwork` around the model, as prepared: DeepSpeed only gathers what it has wrapped.
        model: The model itself.
    """
    if by_deepspeed(accelerator):
        gathered = accelerator.get_state_dict(network)
        return {name.removeprefix("model."): value for name, value in gathered.items()}
    if accelerator.is_fsdp2:
        return get_model_state_dict(model, options=_WHOLE)
    state: dict[str, Any] = model.state_dict()
    return state


def load_model_state(accelerator: Accelerator, model: nn.Module, state: dict[str, Any]) -> None:
    """Takes weights that `model_state` gave; names that are missing keep theirs."""
    if not accelerator.is_fsdp2:
        model.load_state_dict(state, strict=False)
    else:
        set_model_state_dict(model, state, options=_WHOLE)


def optimizer_state(accelerator: Accelerator, model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """The whole state of an optimizer on the main process."""
    if not accelerator.is_fsdp2:
        return optimizer.state_dict()
    return get_optimizer_state_dict(model, _plain(optimizer), options=_WHOLE)


def load_optimizer_state(
    accelerator: Accelerator, model: nn.Module, optimizer: Optimizer, state: dict[str, Any]
) -> None:
    """Takes what `optimizer_state` gave."""
    if not accelerator.is_fsdp2:
        optimizer.load_state_dict(state)
    else:
        set_optimizer_state_dict(model, _plain(optimizer), state, options=_WHOLE)


def _plain(optimizer: Optimizer) -> Optimizer:
    """Without accelerate's wrapper."""
    plain: Optimizer = getattr(optimizer, "optimizer", optimizer)
    return plain


def random_state() -> dict[str, torch.Tensor]:
    """Of torch's generators: dropout draws from them."""
    cuda = {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def set_random_state(state: dict[str, torch.Tensor]) -> None:
    """Takes what `random_state` gave."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])


def whole_copy(accelerator: Accelerator, network: nn.Module, model: nn.Module) -> nn.Module:
    """The model with all its weights, to be saved: itself, or where weights are spread, a copy on the main process."""
    if not accelerator.is_fsdp2 and not by_deepspeed(accelerator):
        return model
    state = model_state(accelerator, network, model)
    unset_hf_deepspeed_config()  # else transformers would spread the copy as well
    copy: nn.Module = AutoModelForCausalLM.from_config(model.config)
    if accelerator.is_main_process:
        copy.load_state_dict(state)
    return copy
