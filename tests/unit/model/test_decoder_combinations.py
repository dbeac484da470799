"""Every combination of the decoder's choices builds, learns and generates, and every position is saved and loaded."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file
from tests.unit.model.shapes import POSITIONS, Vocabulary, decoder, decoder_params, ids, train
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from forgeline.inference.engine import generate
from forgeline.model.build import build_model
from forgeline.model.decoder import DecoderForCausalLM
from forgeline.model.params import Activation, DecoderParams

ACTIVATIONS = get_args(Activation)


def others() -> Iterator[dict[str, Any]]:
    """Heads, window, biases, norms and tied weights, in all combinations."""
    keys = ("num_key_value_heads", "sliding_window", "attention_bias", "qk_norm", "norm", "tie_word_embeddings")
    for values in product((1, 2, 4), (None, 4), (True, False), (True, False), ("rmsnorm", "layernorm"), (True, False)):
        chosen = dict(zip(keys, values, strict=True))
        yield {**chosen, "mlp_bias": chosen["attention_bias"]}


def check(params: DecoderParams) -> None:
    torch.manual_seed(0)
    model = build_model(params, Vocabulary())
    assert type(model) is (LlamaForCausalLM if params.is_llama else DecoderForCausalLM)
    losses = train(model, ids(2, 9), 2)
    assert losses[1] < losses[0], params
    prompts = [[5, 6, 7, 8, 9, 10], [11, 12]]
    batch = {"stop_token_ids": (), "pad_token_id": 2, "temperature": 0.0, "generator": None, "batch_tokens": 1000}
    for prompt, answer in zip(prompts, generate(model, prompts, max_new_tokens=2, **batch), strict=True):
        ids_so_far = list(prompt)
        for token, logp in zip(answer.output_ids, answer.logps, strict=True):
            with torch.no_grad():
                naive = model(torch.tensor([ids_so_far]), use_cache=False).logits[0, -1].log_softmax(-1)
            assert logp == pytest.approx(float(naive.max()), abs=1e-3), params
            assert logp == pytest.approx(float(naive[token]), abs=1e-3), params
            ids_so_far.append(token)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("positions", POSITIONS)
def test_every_combination_learns_and_generates(positions: str, activation: str) -> None:
    for chosen in others():
        check(decoder_params(positions=POSITIONS[positions], activation=activation, **chosen))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("positions", POSITIONS)
def test_every_position_with_every_activation_learns_and_generates(positions: str, activation: str) -> None:
    check(decoder_params(positions=POSITIONS[positions], activation=activation, sliding_window=4, qk_norm=True))


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_saved_model_is_the_same_model_and_its_configuration_names_no_code(positions: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model(decoder_params(positions=POSITIONS[positions], norm="layernorm"), Vocabulary()).eval()
    model.save_pretrained(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors"
    }  # fmt: skip
    assert "auto_map" not in (tmp_path / "config.json").read_text()
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")  # tied
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(again(ids(2, 9)).logits, model(ids(2, 9)).logits)
    assert again.config.positions == model.config.positions


@pytest.mark.parametrize("changed", [{}, {"positions": POSITIONS["yarn"]}, {"attention_bias": True, "mlp_bias": True}])
def test_llamas_choices_make_a_plain_llama_with_the_same_logits(changed: dict[str, Any], tmp_path: Path) -> None:
    ours = decoder(**changed)
    plain = build_model(decoder_params(**changed), Vocabulary()).eval()
    plain.load_state_dict(ours.state_dict())
    plain.save_pretrained(tmp_path)
    assert '"model_type": "llama"' in (tmp_path / "config.json").read_text()
    again = LlamaForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(again(ids(2, 9)).logits, ours(ids(2, 9)).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "changed",
    [{"norm": "layernorm"}, {"activation": "geglu"}, {"qk_norm": True}, {"sliding_window": 4}, {"dropout": 0.1}],
)
def test_any_other_choice_is_our_decoder(changed: dict[str, Any]) -> None:
    assert build_model(decoder_params(**changed), Vocabulary()).config.model_type == "forgeline_decoder"
