"""The packed Llama against transformers' own forward pass and generation."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from forgeline.inference.engine import generate
from forgeline.inference.packed import PackedLlama, is_packable

PROMPTS = [[5, 9, 11], [7], [3, 3, 8, 20, 41, 2, 17], [60, 1, 4, 4, 30], [12, 13], [5, 9, 11], [5, 9, 11, 6]]
SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.4,  # peaked distributions, so that rounding cannot flip an argmax
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "llama_biases_tied": LlamaConfig(**SIZES, attention_bias=True, tie_word_embeddings=True),
    "llama_long": LlamaConfig(
        **SIZES, rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
                                  "original_max_position_embeddings": 32}
    ),
    "mistral": MistralConfig(**SIZES, sliding_window=None),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=16),
}  # fmt: skip


def build(config: PreTrainedConfig):
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config).eval()
    for name, weights in model.named_parameters():
        if name.endswith("bias") or "norm" in name:
            weights.data.add_(torch.randn_like(weights) * 0.2)
    return model


def answers(model, *, temperature=0.0, stop=(), new=40, prompts=PROMPTS, batch_tokens=10_000):
    found = generate(
        model,
        prompts,
        max_new_tokens=new,
        stop_token_ids=stop,
        pad_token_id=0,
        temperature=temperature,
        generator=torch.Generator().manual_seed(2) if temperature else None,
        batch_tokens=batch_tokens,
    )
    return [generation.output_ids for generation in found], [generation.logps for generation in found]


@pytest.mark.parametrize("name", CONFIGS)
def test_greedy_answers_are_those_of_the_module(name):
    model = build(CONFIGS[name])
    assert is_packable(model)
    packed = PackedLlama(model, torch.float32)
    ids, logps = answers(packed)  # 40 tokens: the cache grows on the way
    expected, expected_logps = answers(model)
    assert ids == expected
    for found, other in zip(logps, expected_logps, strict=True):
        assert found == pytest.approx(other, abs=1e-4)


def test_sampling_and_stopping_are_the_engines():
    model = build(CONFIGS["llama"])
    packed = PackedLlama(model, torch.float32)
    free, _ = answers(packed, temperature=1.0)
    stop = [free[2][1], free[3][4], free[0][6]]
    assert answers(packed, temperature=1.0, stop=stop)[0] == answers(model, temperature=1.0, stop=stop)[0]
    alone = answers(packed, temperature=1.0, stop=stop, batch_tokens=50)[0]
    assert alone == answers(packed, temperature=1.0, stop=stop)[0]


def test_bfloat16_rounds_no_more_than_the_module_in_bfloat16():
    model = build(CONFIGS["llama"])
    expected = torch.tensor(answers(model, new=1)[1])
    packed = torch.tensor(answers(PackedLlama(model, torch.bfloat16), new=1)[1])
    module = torch.tensor(answers(model.to(torch.bfloat16), new=1)[1])
    assert 0 < (packed - expected).abs().mean() < 1.5 * (module - expected).abs().mean()


def test_weights_are_taken_over_when_told():
    model = build(CONFIGS["llama"])
    packed = PackedLlama(model, torch.float32)
    before = answers(packed)[0]
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.mul_(-1)
    assert answers(packed)[0] == before
    packed.load()
    assert answers(packed)[0] == answers(model)[0] != before


def test_what_is_no_llama_takes_its_own_forward_pass():
    sizes = {"vocab_size": 61, "hidden_size": 32, "n_layer": 1, "n_head": 2}
    assert not is_packable(AutoModelForCausalLM.from_config(BloomConfig(**sizes)))
    assert not is_packable(build(MistralConfig(**SIZES, sliding_window=8)))
    assert not is_packable(build(LlamaConfig(**SIZES, hidden_act="gelu")))
