"""Small architectures, and what the tests of the model do with them."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from forgeline.model.decoder import DecoderForCausalLM
from forgeline.model.decoder_config import DecoderConfig
from forgeline.model.params import DecoderParams
from forgeline.training.loop.objective import next_token_loss, split_window
from forgeline.training.loop.optimizers.build import build_optimizers
from forgeline.training.loop.optimizers.params import AdamWParams

POSITIONS: dict[str, dict[str, Any]] = {
    "rope": {"name": "rope", "theta": 10_000.0},
    "yarn": {
        "name": "yarn", "theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 2.0,
        "beta_slow": 0.5, "attention_factor": None,
    },
    "sinusoidal": {"name": "sinusoidal"},
    "learned": {"name": "learned"},
    "alibi": {"name": "alibi"},
}  # fmt: skip
DECODER: dict[str, Any] = {
    "kind": "decoder", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "positions": POSITIONS["rope"], "sliding_window": None,
    "attention_bias": False, "attention_dropout": 0.0, "qk_norm": False, "norm": "rmsnorm", "norm_eps": 1e-5,
    "activation": "swiglu", "mlp_bias": False, "dropout": 0.0, "initializer_range": 0.2, "tie_word_embeddings": True,
}  # fmt: skip
VOCABULARY = 64


class Vocabulary:
    """All that building a model asks of a tokenizer."""

    bos_token_id, eos_token_id, pad_token_id = 0, 1, 2

    def __len__(self) -> int:
        return VOCABULARY


def decoder_params(**changed: Any) -> DecoderParams:
    return DecoderParams(**{**DECODER, **changed})


def decoder(**changed: Any) -> DecoderForCausalLM:
    """Our own class, also where a plain Llama would be built."""
    torch.manual_seed(0)
    values = decoder_params(**changed).model_dump(exclude={"kind"})
    return DecoderForCausalLM(DecoderConfig(vocab_size=VOCABULARY, eos_token_id=1, pad_token_id=2, **values)).eval()


def ids(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(3, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def train(model: PreTrainedModel, windows: Tensor, num_steps: int) -> list[float]:
    """The losses per token of AdamW's steps on the same windows, with the objective of pretraining."""
    model.train()
    params = AdamWParams(name="adamw", learning_rate=0.01, betas=[0.9, 0.95], epsilon=1e-8, weight_decay=0.1)
    optimizers = build_optimizers(params, model)
    inputs, labels = split_window(windows)
    losses = []
    for _ in range(num_steps):
        loss, num_tokens = next_token_loss(model(input_ids=inputs, use_cache=False).logits, labels)
        (loss / num_tokens).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(float(loss.detach()) / num_tokens)
    return losses
