"""The model that pretraining starts from."""

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from forgeline.core.errors import DataError
from forgeline.model.loading import load_model
from forgeline.model.params import ModelParams
from forgeline.tokenization.fingerprint import require_same_tokenizer


def initial_model(
    init_from: str | None, params: ModelParams, tokenizer: PreTrainedTokenizerBase, tokenizer_folder: Path
) -> PreTrainedModel:
    """The model to continue from, or a new one, in float32 on the CPU.

    Args:
        init_from: Folder of a model that was trained with the same tokenizer, or None for random weights.
        params: Architecture of a new model.
        tokenizer: Gives a new model its vocabulary size and special ids.
        tokenizer_folder: Where that tokenizer lies.

    Raises:
        DataError: `init_from` is not a folder with weights.
        FingerprintError: `init_from` was trained with another tokenizer.
    """
    if init_from is None:
        return build_model(params, tokenizer)
    if not Path(init_from).is_dir():
        raise DataError(f"params.yaml: pretrain.init_from {init_from} is not a folder: give a local model folder")
    require_same_tokenizer(Path(init_from), tokenizer_folder)
    return load_model(Path(init_from), torch.device("cpu"))


def build_model(params: ModelParams, tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """A Llama with random weights in float32 on the CPU, drawn from torch's global generator."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=params.hidden_size,
        intermediate_size=params.intermediate_size,
        num_hidden_layers=params.num_hidden_layers,
        num_attention_heads=params.num_attention_heads,
        num_key_value_heads=params.num_key_value_heads,
        max_position_embeddings=params.max_position_embeddings,
        rms_norm_eps=params.rms_norm_eps,
        initializer_range=params.initializer_range,
        tie_word_embeddings=params.tie_word_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": params.rope_theta},
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype=torch.float32,
    )
    return LlamaForCausalLM(config)
