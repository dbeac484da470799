"""SFTTrainer for packed rows: attention within each conversation, logits only where something is learned."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from forgeline.training.pretraining.head_loss import has_plain_head, head_loss
from forgeline.training.segmented_attention import attending, packed_attention
from forgeline.training.trl.held_out import IGNORED
from forgeline.training.whole_logits import WholeLogitsTrainer


class PackedTrainer(WholeLogitsTrainer):
    """Takes batches of `PackedCollator`; the loss is that of each conversation alone."""

    def __init__(self, *arguments: Any, noise_alpha: float | None, **named: Any) -> None:
        """As SFTTrainer's, and the alpha of `embedding_noise` or None.

        Raises:
            ParamsError: The model cannot keep the conversations of a row apart.
        """
        super().__init__(*arguments, **named)
        self._plain = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        self._attention = packed_attention(self._plain, "sft.packing", in_16_bits=self.args.bf16 or self.args.fp16)
        self._has_plain_head = has_plain_head(self._plain)
        self._noise_alpha = noise_alpha

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Cross-entropy summed over the micro-batch, divided by the supervised tokens of the whole step."""
        embeddings = self._plain.get_input_embeddings()
        noise = (
            nullcontext()
            if self._noise_alpha is None
            else embedding_noise(embeddings, self._noise_alpha, inputs["cu_seq_lens_q"].diff())
        )
        labels = inputs["labels"][:, 1:]
        learned = labels != IGNORED
        with attending(self._plain, self._attention), noise:
            if return_outputs or not self._has_plain_head or not learned.any():
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            # The body is called by itself, so what the Trainer has put around the whole model's forward pass is not.
            with self.accelerator.autocast():
                arguments = {name: value for name, value in inputs.items() if name != "labels"}
                hidden = self._plain.base_model(**arguments, use_cache=False).last_hidden_state[:, :-1]
                total = head_loss(hidden[learned], self._plain.get_output_embeddings().weight, labels[learned])
        return total / (num_items_in_batch if num_items_in_batch is not None else learned.sum())


@contextmanager
def embedding_noise(embeddings: nn.Module, alpha: float, lengths: Tensor) -> Iterator[None]:
    """Adds noise to embeddings, uniform up to alpha / sqrt(tokens x hidden size) (NEFTune, Jain et al. 2023).

    The tokens are those of each conversation, as in the paper; the Trainer would take those of the whole row.

    Args:
        embeddings: The model's layer.
        alpha: The paper's.
        lengths: Tokens of each conversation of the one row.
    """

    def add(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        limits = alpha / (lengths * output.size(-1)).sqrt()
        return output + torch.empty_like(output).uniform_(-1, 1) * limits.repeat_interleave(lengths)[None, :, None]

    handle = embeddings.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
