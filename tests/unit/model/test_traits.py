"""Limits of architectures, as their configurations say."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.unit.model.shapes import POSITIONS, Vocabulary, decoder_params
from tests.unit.model.test_families import FAMILIES, family

from forgeline.core.errors import ParamsError
from forgeline.model.build import build_model
from forgeline.model.traits import cache_argument, max_positions, require_positions

ALIBI = decoder_params(positions=POSITIONS["alibi"])


def test_windows_longer_than_the_model_reads_are_refused() -> None:
    config = build_model(ALIBI, Vocabulary()).config
    require_positions(config, 64, "pack.sequence_length")
    with pytest.raises(ParamsError, match=r"pack\.sequence_length 65 is more than the model.*_embeddings 64: lower it"):
        require_positions(config, 65, "pack.sequence_length")


def test_gpt2s_limit_has_another_name_and_mamba_has_none() -> None:
    gpt2 = build_model(family("gpt2", n_embd=32, n_layer=1, n_head=2, n_positions=48), Vocabulary())
    mamba = build_model(family("mamba2", **FAMILIES["mamba2"]), Vocabulary())
    assert (max_positions(gpt2.config), max_positions(mamba.config)) == (48, None)
    require_positions(mamba.config, 10**6, "pack.sequence_length")


def test_the_cache_is_passed_under_the_name_that_the_model_knows() -> None:
    assert cache_argument(build_model(family("mamba2", **FAMILIES["mamba2"]), Vocabulary())) == "cache_params"
    adapted = get_peft_model(build_model(ALIBI, Vocabulary()), LoraConfig(target_modules=["q_proj"]))
    assert cache_argument(adapted) == "past_key_values"


def test_a_learned_position_beyond_the_last_is_an_error() -> None:
    model = build_model(decoder_params(positions=POSITIONS["learned"]), Vocabulary())
    model(torch.zeros(1, 64, dtype=torch.long))
    with pytest.raises(IndexError):
        model(torch.zeros(1, 65, dtype=torch.long))
