"""Whether a model keeps the documents of a window apart: found out by trying, since nothing in it says so."""

import torch
from torch import Tensor, nn

from forgeline.core.errors import ParamsError
from forgeline.model.batches import evaluation_mode

_LENGTH = 4  # tokens of each of two documents


@torch.no_grad()
def require_document_mask(model: nn.Module, knob: str = "pretrain.document_mask") -> None:
    """Changes the first of two documents and looks whether the model says otherwise about the second.

    Args:
        model: Of any architecture.
        knob: The parameter that asks for it.

    Raises:
        ParamsError: It does: its architecture carries state or attention over restarting positions.
    """
    device = next(model.parameters()).device
    positions = torch.arange(_LENGTH, device=device).repeat(2).expand(2, -1)
    rows = torch.zeros((2, 2 * _LENGTH), dtype=torch.long, device=device)
    rows[1, :_LENGTH] = 1
    with evaluation_mode(model):
        logits: Tensor = model(input_ids=rows, position_ids=positions, use_cache=False).logits
    first, second = logits[:, _LENGTH:]
    if not torch.equal(first, second):
        raise ParamsError(
            f"params.yaml: {knob}: this architecture does not keep the documents of a window apart: set it to false"
        )
