"""SFTTrainer for models whose output head has rows of its own kind."""

from typing import Any

from torch import Tensor, nn
from trl.trainer.sft_trainer import SFTTrainer

from forgeline.training.trl.held_out import IGNORED


class WholeLogitsTrainer(SFTTrainer):  # type: ignore[misc]
    """Takes the loss from the model's own logits.

    TRL's fused output head multiplies by the head's stored weights. Where PEFT trains single rows of it beside them
    (`trainable_token_indices`), these would be left out.
    """

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Cross-entropy summed over the micro-batch, divided by the supervised tokens of the whole step."""
        labels = inputs["labels"][:, 1:]
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"}, use_cache=False)
        logits = outputs.logits[:, :-1].float()
        total = nn.functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="sum")
        loss = total / (num_items_in_batch if num_items_in_batch is not None else (labels != IGNORED).sum())
        return (loss, outputs) if return_outputs else loss
