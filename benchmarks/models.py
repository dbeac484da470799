"""Llamas with random weights, 3 and 23 million of them: what work costs does not depend on what a model knows."""

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

# Vocabulary, hidden size, feed-forward size, heads, whether head and embedding are one.
SIZES = {"3M": (4096, 192, 512, 6, True), "23M": (32768, 256, 1024, 4, False)}
_NUM_LAYERS = 6


def random_llama(name: str, **config: Any) -> LlamaForCausalLM:
    """A model of one of `SIZES` in evaluation mode, the same every time; `config` has its special tokens and more."""
    vocab_size, hidden_size, intermediate_size, num_heads, tied = SIZES[name]
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            intermediate_size=intermediate_size,
            num_hidden_layers=_NUM_LAYERS,
            num_attention_heads=num_heads,
            num_key_value_heads=num_heads,
            tie_word_embeddings=tied,
            initializer_range=0.1,  # of the default the likeliest tokens differ by less than rounding
            **config,
        )
    ).eval()
