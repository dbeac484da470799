from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.model.shapes import DECODER, POSITIONS, decoder_params

from forgeline.model.params import ComputeParams, LlamaParams, ModelParams

GOOD = {
    "kind": "llama",
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "attention_dropout": 0.0,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-5,
    "initializer_range": 0.02,
    "tie_word_embeddings": True,
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden_size": 194}, "hidden_size 194 is not a multiple of num_attention_heads 4: change one of them"),
        (
            {"hidden_size": 12},
            "rotary positions need an even head size, got hidden_size 12 / num_attention_heads 4 = 3",
        ),
        ({"num_key_value_heads": 3}, "num_attention_heads 4 is not a multiple of num_key_value_heads 3"),
        ({"num_key_value_heads": 8}, "num_attention_heads 4 is not a multiple of num_key_value_heads 8"),
        ({"num_hidden_layers": 0}, "greater than or equal to 1"),
        ({"rope_theta": 0.0}, "greater than 0"),
        ({"tie_word_embeddings": 1}, "valid boolean"),
        ({"dropout": 0.1}, "Extra inputs"),
    ],
)
def test_architectures_that_cannot_be_built_are_refused(changed: dict[str, Any], message: str) -> None:
    LlamaParams(**GOOD)
    with pytest.raises(ValidationError, match=message):
        LlamaParams(**{**GOOD, **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden_size": 34}, "hidden_size 34 is not a multiple of num_attention_heads 4: change one of them"),
        ({"num_key_value_heads": 3}, "num_attention_heads 4 is not a multiple of num_key_value_heads 3"),
        (
            {"hidden_size": 36},
            "even head size, got hidden_size 36 / num_attention_heads 4 = 9",
        ),
        ({"positions": {"name": "rotary"}}, "does not match any of the expected tags: 'rope', 'yarn', 'sinusoidal'"),
        ({"positions": {"name": "rope"}}, "theta\n +Field required"),
        ({"positions": {"name": "alibi", "theta": 1e4}}, "Extra inputs"),
        (
            {"positions": {**POSITIONS["yarn"], "factor": 2.0}},
            "max_position_embeddings 64 is more than positions.factor 2 x original_max_position_embeddings 16 = 32",
        ),
        ({"positions": {**POSITIONS["yarn"], "beta_slow": 2.0}}, "beta_fast 2 must exceed beta_slow 2: raise it"),
        (
            {
                "hidden_size": 33,
                "num_attention_heads": 3,
                "num_key_value_heads": 1,
                "positions": {"name": "sinusoidal"},
            },
            "sinusoidal positions need an even hidden_size, got 33",
        ),
        ({"sliding_window": 1}, "greater than or equal to 2"),
        ({"activation": "swish"}, "'relu', 'gelu', 'silu', 'leaky_relu', 'swiglu', 'geglu' or 'reglu'"),
        ({"dropout": 1.0}, "less than 1"),
    ],
)
def test_decoders_that_cannot_be_built_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        decoder_params(**changed)


def test_positions_that_are_not_rotary_need_no_even_head_size() -> None:
    assert decoder_params(hidden_size=36, positions={"name": "alibi"}).head_size == 9


def test_the_section_is_a_choice_by_kind() -> None:
    assert ModelParams.model_validate(GOOD).root == LlamaParams(**GOOD)
    assert ModelParams.model_validate(DECODER).root == decoder_params()
    with pytest.raises(ValidationError, match="does not match any of the expected tags: 'llama', 'decoder', 'transf"):
        ModelParams.model_validate({**GOOD, "kind": "gpt"})


@pytest.mark.parametrize(("threads", "precision"), [(0, "fp32"), (1, "fp8"), (1.0, "fp32")])
def test_compute_is_checked(threads: Any, precision: Any) -> None:
    ComputeParams(num_threads=1, precision="bf16")
    with pytest.raises(ValidationError):
        ComputeParams(num_threads=threads, precision=precision)
