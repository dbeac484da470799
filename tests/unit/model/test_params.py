from typing import Any

import pytest
from pydantic import ValidationError

from forgeline.model.params import ComputeParams, ModelParams

GOOD = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
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
    ModelParams(**GOOD)
    with pytest.raises(ValidationError, match=message):
        ModelParams(**{**GOOD, **changed})


@pytest.mark.parametrize(("threads", "precision"), [(0, "fp32"), (1, "fp16"), (1.0, "fp32")])
def test_compute_is_checked(threads: Any, precision: Any) -> None:
    ComputeParams(num_threads=1, precision="bf16")
    with pytest.raises(ValidationError):
        ComputeParams(num_threads=threads, precision=precision)
