"""An adapter for continued pretraining, and the whole model that comes out of it."""

from pathlib import Path

from peft import PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from forgeline.core.errors import ParamsError
from forgeline.model.loading import save_model_files
from forgeline.training.lora import lora_config
from forgeline.training.params.pretrain import PretrainParams


def adapted(model: PreTrainedModel, params: PretrainParams, new_ids: range) -> PreTrainedModel | PeftModel:
    """The model as it is trained: itself, or frozen under a LoRA adapter with the embeddings trained as asked.

    Args:
        model: Plain weights.
        params: Section `pretrain`.
        new_ids: Ids that extending the vocabulary has added.

    Raises:
        ParamsError: New rows are to be trained and there are none, or the adapter does not fit the model.
    """
    if params.peft == "none":
        return model
    config = lora_config(model, params.lora)
    if params.train_embeddings == "new":
        if not new_ids:
            raise ParamsError(
                "params.yaml: pretrain.train_embeddings is new, but the tokenizer adds no ids to the model's: set it "
                "to none or all"
            )
        config.trainable_token_indices = {name: list(new_ids) for name in _embedding_names(model)}
    wrapped = get_peft_model(model, config)
    if params.train_embeddings == "all":
        for layer in (wrapped.get_input_embeddings(), wrapped.get_output_embeddings()):
            layer.weight.requires_grad_(True)
    return wrapped


def _embedding_names(model: PreTrainedModel) -> list[str]:
    """Names of the embeddings and, where its weights are others, of the output head."""
    inputs, head = model.get_input_embeddings(), model.get_output_embeddings()
    wanted = [inputs] if head.weight is inputs.weight else [inputs, head]
    return [name.rpartition(".")[2] for name, module in model.named_modules() if any(module is one for one in wanted)]


def whole_model(model: nn.Module) -> PreTrainedModel:
    """Plain weights on the CPU, an adapter added to those it sits on; changes the model in place."""
    plain: PreTrainedModel = model.merge_and_unload() if isinstance(model, PeftModel) else model
    return plain.to("cpu")


def save_whole(model: nn.Module, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes the model as a folder of plain weights."""
    save_model_files(whole_model(model), tokenizer, folder)
