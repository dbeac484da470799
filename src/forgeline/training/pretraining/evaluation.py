"""The loss on validation windows, while a model is trained."""

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from forgeline.model.batches import evaluation_mode
from forgeline.packing.dataset import TokenDataset
from forgeline.training.params.pretrain import PretrainParams
from forgeline.training.pretraining.batch import read_batch
from forgeline.training.pretraining.objectives import next_token_objective


@torch.no_grad()
def validation_loss(
    network: nn.Module, validation: TokenDataset, params: PretrainParams, accelerator: Accelerator
) -> float:
    """Nats per token over the first `eval_windows` windows; every process computes all of it.

    Args:
        network: As accelerate has prepared it; its mode is put back.
        validation: Windows to measure on.
        params: Section `pretrain`.
        accelerator: Device and processes.
    """
    loss = torch.zeros((), device=accelerator.device, dtype=torch.float64)
    num_tokens = 0
    count = min(params.eval_windows, len(validation))
    share = params.micro_batch_size // accelerator.num_processes
    with evaluation_mode(network):
        for start in range(0, count, share):
            indices = np.arange(start, min(start + share, count), dtype=np.int64)
            batch = read_batch(validation, indices, params.document_mask)
            loss_sum, tokens, _ = next_token_objective(network, batch.to(accelerator.device))
            loss += loss_sum
            num_tokens += tokens
    return float(loss / num_tokens)
