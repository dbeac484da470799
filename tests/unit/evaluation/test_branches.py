"""Answers that share a read prompt score as if each stood there alone."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from forgeline.core.errors import DataError
from forgeline.evaluation import branches
from forgeline.evaluation.branches import Branches, branch_logps

SIZES: dict[str, Any] = {
    "vocab_size": 23,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 24,
    "initializer_range": 0.3,
}


def llama() -> PreTrainedModel:
    torch.manual_seed(1)
    return LlamaForCausalLM(LlamaConfig(**SIZES)).eval()


LLAMA = llama()
ROWS = [Branches([1, 2, 3], [[4, 5], [6], [7, 8, 9, 10]]), Branches([2], [[3, 3]]), Branches([9, 8, 7, 6], [[1], [2]])]


def alone(model: PreTrainedModel, prompt: list[int], answer: list[int]) -> float:
    """One unpadded sequence, in the plainest way."""
    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        logps = model(ids).logits[0, :-1].double().log_softmax(-1).gather(1, ids[0, 1:, None]).squeeze(1)
    return float(logps[len(prompt) - 1 :].sum())


def assert_as_alone(model: PreTrainedModel, rows: list[Branches]) -> None:
    for row, found in zip(rows, branch_logps(model, rows), strict=True):
        assert found == pytest.approx([alone(model, row.prompt, answer) for answer in row.answers], abs=2e-5)


ids = st.lists(st.integers(0, 22), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.builds(Branches, ids, st.lists(ids, min_size=1, max_size=4)), min_size=1, max_size=4))
def test_an_answer_scores_as_if_it_stood_alone(rows: list[Branches]) -> None:
    assert_as_alone(LLAMA, rows)


@pytest.mark.parametrize(
    ("model", "shared"),
    [
        (lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=8)), True),
        (lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=None)), True),
        (lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=3)), False),
        (lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES)), False),
    ],
    ids=["qwen3", "mistral", "mistral with windows", "gpt_neox"],
)
def test_other_families(model: Any, shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    built = model().eval()
    calls = []
    copies = branches._after_copies
    monkeypatch.setattr(branches, "_after_copies", lambda *given: calls.append(given) or copies(*given))
    assert_as_alone(built, ROWS)
    assert bool(calls) is not shared


def test_a_prompt_is_read_once_and_the_head_only_for_what_is_scored() -> None:
    read: list[tuple[int, ...]] = []
    heads: list[int] = []
    model = llama()
    model.model.embed_tokens.register_forward_hook(lambda _module, given, _out: read.append(tuple(given[0].shape)))
    model.lm_head.register_forward_hook(lambda _module, given, _out: heads.append(given[0].shape[1]))
    branch_logps(model, ROWS)
    assert read == [(3, 3 + 1 + 0 + 3)]
    assert heads == [2 + 1 + 4 + 2 + 1 + 1]


def test_what_may_look_where() -> None:
    layout = branches._Layout([Branches([5, 6], [[7, 8, 9], [1, 2]])], torch.device("cpu"))
    assert layout.input_ids.tolist() == [[5, 6, 7, 8, 1]]
    assert layout.position_ids.tolist() == [[0, 1, 2, 3, 2]]
    assert (layout.mask[0, 0] == 0).int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]
    assert layout.predictors.tolist() == [1, 2, 3, 1, 4]
    assert layout.targets.tolist() == [7, 8, 9, 1, 2]


def test_too_long_an_answer_is_an_error() -> None:
    assert_as_alone(LLAMA, [Branches(list(range(20)), [[1] * 5, [2] * 5])])  # 24 positions and the one not read
    with pytest.raises(DataError, match="26 tokens, more than the model's max_position_embeddings 24"):
        branch_logps(LLAMA, [Branches(list(range(20)), [[1] * 6])])


def test_logits_that_are_no_numbers_are_never_scored() -> None:
    model = llama()
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.inf)
    with pytest.raises(DataError, match="logits are not numbers"):
        branch_logps(model, ROWS)
