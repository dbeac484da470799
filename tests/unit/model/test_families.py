"""Architectures of the transformers library, built from scratch at a tiny size."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.model.shapes import Vocabulary, ids, train

from forgeline.core.errors import ParamsError
from forgeline.inference.engine import generate
from forgeline.model.build import build_model
from forgeline.model.families import check_family
from forgeline.model.loading import load_model, save_model_files
from forgeline.model.params import TransformersParams

SHAPE = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "mixtral": {**SHAPE, "num_local_experts": 4},
    "deepseek_v3": {
        **SHAPE, "num_key_value_heads": 4, "moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2,
        "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1, "q_lora_rank": 16, "kv_lora_rank": 16,
        "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
    },
    "mamba2": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_heads": 8, "head_dim": 8, "state_size": 16, "n_groups": 2,
        "chunk_size": 8, "expand": 2,
    },
    "qwen3": {**SHAPE, "head_dim": 8},
    "gemma2": {**SHAPE, "head_dim": 8, "sliding_window": 8},
    "gemma3_text": {**SHAPE, "head_dim": 8, "sliding_window": 8},
}  # fmt: skip


def family(model_type: str, **overrides: Any) -> TransformersParams:
    return TransformersParams(kind="transformers", model_type=model_type, overrides=overrides)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_learns_is_saved_loaded_and_generates(name: str, tokenizer, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model(family(name, **FAMILIES[name]), tokenizer)
    assert model.config.model_type == name
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    losses = train(model, ids(4, 13), 2)
    assert losses[1] < losses[0]
    save_model_files(model, tokenizer, tmp_path)
    loaded = load_model(tmp_path, torch.device("cpu"))
    assert torch.equal(loaded(ids(2, 9)).logits, model.eval()(ids(2, 9)).logits)
    prompts = [[5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15, 16, 17], [4]]
    batch = {"stop_token_ids": (), "pad_token_id": 1, "temperature": 0.0, "generator": None, "batch_tokens": 1000}
    for prompt, answer in zip(prompts, generate(loaded, prompts, max_new_tokens=8, **batch), strict=True):
        with torch.no_grad():
            logits = loaded(torch.tensor([prompt + answer.output_ids]), use_cache=False).logits[0].log_softmax(-1)
        naive = logits[len(prompt) - 1 : -1].gather(1, torch.tensor(answer.output_ids)[:, None]).squeeze(1)
        assert answer.logps == pytest.approx(naive.tolist(), abs=1e-4)
    first = generate(loaded, prompts[:1], max_new_tokens=8, **batch)[0].output_ids
    stopped = generate(loaded, prompts, max_new_tokens=8, **{**batch, "stop_token_ids": first[1:2]})
    together = generate(loaded, prompts, max_new_tokens=8, **batch)
    for row, whole in zip(stopped, together, strict=True):  # rows that leave the batch do not disturb the others
        assert row.output_ids == whole.output_ids[: len(row.output_ids)]


def test_an_unknown_family_is_refused_with_its_neighbours() -> None:
    with pytest.raises(ParamsError, match=r"model\.model_type: transformers has no .* 'mixtrl': did you mean mixtral,"):
        check_family(family("mixtrl"), 256)
    with pytest.raises(ParamsError, match="'xxxxxxxxxxxx': check its spelling"):
        check_family(family("xxxxxxxxxxxx"), 256)


def test_an_unknown_override_is_refused_with_its_neighbours() -> None:
    with pytest.raises(
        ParamsError, match=r"model\.overrides\.hiden_size: qwen3 has no such key: did you mean hidden_s"
    ):
        check_family(family("qwen3", hiden_size=32), 256)


def test_a_value_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"model\.overrides: qwen3 .*'num_attention_heads' expected int, got str"):
        check_family(family("qwen3", num_attention_heads="two"), 256)


def test_sizes_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ParamsError, match=r"model\.overrides: qwen3 cannot be built or run .* check that sizes fit"):
        build_model(family("qwen3", **{**SHAPE, "num_key_value_heads": 3}), Vocabulary())


def test_an_encoder_is_no_language_model_unless_told_to_look_back_only() -> None:
    shape = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 32}
    with pytest.raises(ParamsError, match=r"bert attends to later tokens.*set model\.overrides\.is_decoder: true"):
        build_model(family("bert", **shape), Vocabulary())
    assert build_model(family("bert", **shape, is_decoder=True), Vocabulary()).config.is_decoder


@pytest.mark.parametrize("name", ["openai-gpt", "rwkv", "xlstm"])
def test_a_family_without_a_usable_cache_is_refused(name: str) -> None:
    shapes = {
        "openai-gpt": {"n_embd": 32, "n_layer": 1, "n_head": 2},
        "rwkv": {"hidden_size": 32, "num_hidden_layers": 2},
        "xlstm": {"hidden_size": 64, "num_heads": 2, "num_hidden_layers": 1},
    }
    with pytest.raises(ParamsError, match=f"{name} cannot generate with a cache"):
        build_model(family(name, **shapes[name]), Vocabulary())


@pytest.mark.parametrize("key", ["vocab_size", "eos_token_id", "dtype"])
def test_what_the_tokenizer_decides_cannot_be_overridden(key: str) -> None:
    with pytest.raises(ValueError, match=f"overrides may not hold {key}"):
        family("qwen3", **{key: 5})
