"""The decoder against other implementations at equal settings, against definitions written out, and against itself."""

import math
from typing import Any

import pytest
import torch
from tests.unit.model.shapes import POSITIONS, VOCABULARY, decoder, ids
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from forgeline.model.decoder import alibi_slopes, attend_plainly, rotary_frequencies
from forgeline.model.decoder_config import DecoderConfig
from forgeline.training.loop.objective import next_token_loss

SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True, "pad_token_id": 2,
}  # fmt: skip
ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
YARN = {
    "rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 16,
    "beta_fast": 2.0, "beta_slow": 0.5,
}  # fmt: skip
TWINS: dict[str, tuple[dict[str, Any], PreTrainedModel]] = {
    "llama": ({}, LlamaForCausalLM(LlamaConfig(**SHAPE, rope_parameters=ROPE))),
    "llama with biases, an own head and one key head": (
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False, "num_key_value_heads": 1},
        LlamaForCausalLM(
            LlamaConfig(
                **{**SHAPE, "tie_word_embeddings": False, "num_key_value_heads": 1},
                attention_bias=True,
                mlp_bias=True,
                rope_parameters=ROPE,
            )
        ),
    ),
    "llama with yarn": (
        {"positions": POSITIONS["yarn"]},
        LlamaForCausalLM(LlamaConfig(**SHAPE, rope_parameters=YARN)),
    ),
    "mistral": (
        {"sliding_window": 5},
        MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=5, rope_parameters=ROPE)),
    ),
    "qwen3": ({"qk_norm": True}, Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=8, rope_parameters=ROPE))),
}


def gradients(model: PreTrainedModel, windows: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits, and the gradients of the next-token loss by parameter."""
    logits = model(input_ids=windows[:, :-1], use_cache=False).logits
    next_token_loss(logits, windows[:, 1:])[0].backward()
    return logits.detach(), {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("name", TWINS)
def test_equal_choices_have_equal_weight_files_logits_and_gradients(name: str) -> None:
    changed, twin = TWINS[name]
    model = decoder(**changed)
    twin.load_state_dict(model.state_dict())  # strict: the names are the same
    ours, theirs = gradients(model, ids(3, 20)), gradients(twin.eval(), ids(3, 20))
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-5, atol=1e-5)
    assert ours[1].keys() == theirs[1].keys()
    for key, gradient in ours[1].items():
        torch.testing.assert_close(gradient, theirs[1][key], rtol=1e-4, atol=1e-4, msg=key)


def test_layer_norm_gelu_and_learned_positions_are_gpt2s() -> None:
    shape = {"n_embd": 32, "n_inner": 48, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": VOCABULARY}
    twin = GPT2LMHeadModel(GPT2Config(**shape, activation_function="gelu")).eval()
    model = decoder(
        positions=POSITIONS["learned"], norm="layernorm", activation="gelu", num_key_value_heads=4,
        attention_bias=True, mlp_bias=True,
    )  # fmt: skip
    theirs: dict[str, torch.Tensor] = {}
    for name, value in model.state_dict().items():
        theirs.update(as_gpt2(name, value, model.state_dict()))
    twin.load_state_dict(theirs)
    windows = ids(3, 20)
    (logits, ours), (expected, wanted) = gradients(model, windows), gradients(twin, windows)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    translated: dict[str, torch.Tensor] = {}
    for name, value in ours.items():
        translated.update(as_gpt2(name, value, ours))
    assert translated.keys() - {"lm_head.weight"} == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(translated[name], gradient, rtol=1e-4, atol=1e-4, msg=name)


def as_gpt2(name: str, value: torch.Tensor, all_of_them: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """One of our tensors under GPT-2's name; its matrices are transposed, and one holds queries, keys and values."""
    fixed = {
        "model.embed_tokens.weight": "transformer.wte.weight", "lm_head.weight": "lm_head.weight",
        "model.embed_positions.weight": "transformer.wpe.weight", "model.norm.weight": "transformer.ln_f.weight",
        "model.norm.bias": "transformer.ln_f.bias",
    }  # fmt: skip
    if name in fixed:
        return {fixed[name]: value}
    _, _, layer, part, kind = name.replace("self_attn.", "").replace("mlp.", "").split(".")
    parts = {
        "input_layernorm": "ln_1", "post_attention_layernorm": "ln_2", "o_proj": "attn.c_proj", "q_proj": "attn.c_attn",
        "up_proj": "mlp.c_fc", "down_proj": "mlp.c_proj",
    }  # fmt: skip
    if part in ("k_proj", "v_proj"):
        return {}
    if part == "q_proj":
        value = torch.cat([all_of_them[name.replace("q_proj", f"{which}_proj")] for which in "qkv"])
    return {f"transformer.h.{layer}.{parts[part]}.{kind}": value.T if value.ndim == 2 else value}


class TestYarn:
    """Head size 8, theta 10,000, original context 16, factor 4: pairs turn 2.55, 0.255, 0.0255, 0.00255 times in it."""

    def frequencies(self, **changed: Any) -> tuple[list[float], float]:
        positions = {**POSITIONS["yarn"], **changed}
        config = DecoderConfig(hidden_size=32, num_attention_heads=4, positions=positions)
        found, scale = rotary_frequencies(config)
        return found.tolist(), scale

    def test_fast_pairs_stay_slow_ones_are_divided_by_the_factor(self) -> None:
        # 2 turns: pair 0.105, 0.5 turns: pair 0.707, rounded outward to 0 and 1. Pair 0 stays, the others are slowed.
        found, _ = self.frequencies()
        assert found == pytest.approx([1.0, 0.1 / 4, 0.01 / 4, 0.001 / 4])

    def test_between_the_two_is_a_linear_ramp(self) -> None:
        # 2 turns again from pair 0; 0.01 turns: pair 2.41, rounded to 3. Pairs 1 and 2 are a third and two thirds on.
        found, _ = self.frequencies(beta_slow=0.01)
        expected = [1.0, 0.1 * (2 / 3 + 1 / 3 / 4), 0.01 * (1 / 3 + 2 / 3 / 4), 0.001 / 4]
        assert found == pytest.approx(expected)

    def test_queries_and_keys_grow_by_the_papers_temperature_unless_told_otherwise(self) -> None:
        assert self.frequencies()[1] == pytest.approx(0.1 * math.log(4) + 1)
        assert self.frequencies(attention_factor=1.5)[1] == 1.5

    def test_it_is_not_rope_but_with_a_factor_of_one(self) -> None:
        plain = DecoderConfig(hidden_size=32, num_attention_heads=4, positions=POSITIONS["rope"])
        rope = rotary_frequencies(plain)[0].tolist()
        assert rope == pytest.approx([1.0, 0.1, 0.01, 0.001])
        assert self.frequencies()[0] != pytest.approx(rope, rel=0.5)
        assert self.frequencies(factor=1.0) == (pytest.approx(rope), 1.0)

    def test_logits_differ_from_ropes(self) -> None:
        windows = ids(1, 30)
        rope, yarn = decoder(), decoder(positions=POSITIONS["yarn"])
        assert torch.equal(rope.lm_head.weight, yarn.lm_head.weight)
        assert (rope(windows).logits - yarn(windows).logits).abs().max() > 0.1


class TestAlibi:
    def test_slopes_are_the_papers(self) -> None:
        assert alibi_slopes(8) == [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]
        assert alibi_slopes(6) == [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8]
        assert alibi_slopes(1) == [1 / 256]

    @pytest.mark.parametrize("window", [None, 3])
    def test_scores_are_those_of_a_mask_written_out_entry_by_entry(self, window: int | None) -> None:
        model = decoder(positions=POSITIONS["alibi"], sliding_window=window)
        windows = ids(2, 9)
        seen: list[torch.Tensor] = []

        def watch(module: Any, arguments: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            seen.extend((arguments[0], output))

        model.model.layers[0].self_attn.register_forward_hook(watch)
        model(windows)
        attention, (hidden, output) = model.model.layers[0].self_attn, seen
        mask = torch.full((4, 9, 9), -math.inf)
        for head, slope in enumerate([1 / 4, 1 / 16, 1 / 64, 1 / 256]):
            for query in range(9):
                for key in range(query + 1):
                    if window is None or query - key < window:
                        mask[head, query, key] = -slope * (query - key)
        heads = [
            layer(hidden).view(2, 9, -1, 8).transpose(1, 2)
            for layer in (attention.q_proj, attention.k_proj, attention.v_proj)
        ]
        mixed, _ = attend_plainly(attention, *heads, mask, scaling=8**-0.5)
        torch.testing.assert_close(attention.o_proj(mixed.reshape(2, 9, 32)), output)


def test_sinusoids_are_added_to_scaled_embeddings() -> None:
    model = decoder(positions=POSITIONS["sinusoidal"])
    windows = ids(1, 5)
    embeddings = model.model.embed_tokens(windows).detach()
    found = model.model._add_positions(embeddings, torch.tensor([[0, 1, 2, 3, 7]]))
    for row, position in enumerate([0, 1, 2, 3, 7]):
        for entry in range(32):
            angle = position / 10_000 ** ((entry - entry % 2) / 32)
            expected = math.cos(angle) if entry % 2 else math.sin(angle)
            assert float(found[0, row, entry]) == pytest.approx(
                float(embeddings[0, row, entry]) * math.sqrt(32) + expected, abs=1e-5
            )


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("positions", POSITIONS)
class TestAttention:
    @pytest.fixture
    def model(self, positions: str, heads: int, window: int | None, implementation: str) -> PreTrainedModel:
        model = decoder(
            positions=POSITIONS[positions], num_key_value_heads=heads, sliding_window=window, qk_norm=heads == 2
        )
        model.set_attn_implementation(implementation)
        return model

    def test_generation_is_the_same_with_and_without_a_cache(self, model: PreTrainedModel) -> None:
        prompts, mask = ids(2, 12), torch.ones(2, 12, dtype=torch.long)
        mask[0, :4] = 0
        runs = [
            model.generate(
                prompts,
                attention_mask=mask,
                max_new_tokens=14,
                do_sample=False,
                use_cache=use_cache,
                eos_token_id=None,
                output_scores=True,
                return_dict_in_generate=True,
            )
            for use_cache in (True, False)
        ]
        assert torch.equal(runs[0].sequences, runs[1].sequences)
        for cached, naive in zip(runs[0].scores, runs[1].scores, strict=True):
            torch.testing.assert_close(cached, naive, rtol=1e-4, atol=1e-4)

    def test_padding_changes_nothing(self, model: PreTrainedModel) -> None:
        alone = ids(1, 9)
        padded = torch.cat([torch.full((1, 6), 2), alone], dim=1)
        mask = (torch.arange(15) >= 6).long()[None]
        logits = model(padded, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0)).logits
        torch.testing.assert_close(logits[:, 6:], model(alone).logits, rtol=1e-4, atol=1e-4)

    def test_documents_packed_into_a_row_do_not_see_each_other(self, model: PreTrainedModel) -> None:
        first, second = ids(1, 7, seed=1), ids(1, 9, seed=2)
        positions = torch.cat([torch.arange(7), torch.arange(9)])[None]
        both = model(torch.cat([first, second], dim=1), position_ids=positions, use_cache=False).logits
        torch.testing.assert_close(both[:, :7], model(first).logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(both[:, 7:], model(second).logits, rtol=1e-4, atol=1e-4)

    def test_a_window_hides_what_is_older(self, model: PreTrainedModel, window: int | None) -> None:
        """Two layers see two windows back, less the token that both have in common."""
        windows = ids(1, 20)
        changed = windows.clone()
        changed[0, 0] = 3 if windows[0, 0] != 3 else 4
        moved = (model(windows).logits - model(changed).logits).abs().amax(-1)[0]
        reach = 20 if window is None else 2 * (window - 1) + 1
        assert bool((moved[:reach] > 1e-6).all())
        assert bool((moved[reach:] == 0).all())


def test_kept_logits_are_the_last_ones() -> None:
    model, windows = decoder(), ids(2, 9)
    assert torch.equal(model(windows, logits_to_keep=3).logits, model(windows).logits[:, -3:])
    assert model(windows, use_cache=False).past_key_values is None


def test_head_of_the_base_models_states_is_the_whole_model() -> None:
    model, windows = decoder(norm="layernorm"), ids(2, 9)
    states = model.model(input_ids=windows, use_cache=False).last_hidden_state
    assert torch.equal(model.lm_head(states), model(windows).logits)


def test_recomputed_activations_give_the_same_gradients() -> None:
    model, windows = decoder(positions=POSITIONS["alibi"], activation="geglu"), ids(2, 12)
    _, kept = gradients(model.train(), windows)
    kept = {name: value.clone() for name, value in kept.items()}
    model.zero_grad()
    calls = []
    model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    model.activation_checkpointing_enable()
    _, again = gradients(model, windows)
    assert len(calls) == 2, "the layer was not computed again"
    assert all(torch.equal(value, again[name]) for name, value in kept.items())


@pytest.mark.parametrize("knob", ["dropout", "attention_dropout"])
def test_dropout_acts_in_training_alone(knob: str) -> None:
    model, windows = decoder(**{knob: 0.5}), ids(2, 12)
    assert torch.equal(model(windows).logits, model(windows).logits)
    model.train()
    assert not torch.equal(model(windows).logits, model(windows).logits)


def test_labels_give_the_mean_loss() -> None:
    model, windows = decoder(), ids(2, 9)
    with torch.no_grad():
        loss, num_tokens = next_token_loss(model(windows[:, :-1]).logits, windows[:, 1:])
        mean = model(windows, labels=windows).loss
    assert float(mean) == pytest.approx(float(loss) / num_tokens, rel=1e-5)
