import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from forgeline.core.errors import DataError
from forgeline.evaluation.likelihood import Span, document_spans, span_logps


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=37,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def naive(model, span):
    """One token at a time, in double precision, without padding."""
    values = []
    for position in range(span.start, len(span.input_ids)):
        logits = model(torch.tensor([span.input_ids[:position]])).logits[0, -1].double()
        values.append(logits.log_softmax(-1)[span.input_ids[position]].item())
    return values


SPANS = [Span([1, 5, 9], 1), Span([4, 4, 4, 30, 2, 8, 11], 5), Span([7, 1], 1), Span(list(range(30)), 12)]


@pytest.mark.parametrize("batch_tokens", [1, 20, 1000])
def test_equals_scoring_one_token_at_a_time(model, batch_tokens):
    for span, values in zip(SPANS, span_logps(model, SPANS, batch_tokens=batch_tokens), strict=True):
        assert values.tolist() == pytest.approx(naive(model, span), abs=1e-5)


def test_mean_equals_the_library_loss(model):
    ids = [3, 1, 4, 1, 5, 9, 2, 6]
    loss = model(torch.tensor([ids]), labels=torch.tensor([ids])).loss.item()
    assert -span_logps(model, [Span(ids, 1)], batch_tokens=8)[0].mean() == pytest.approx(loss, abs=1e-5)


def test_document_windows_by_hand():
    assert document_spans([1, 2, 3], 0, 8) == [Span([0, 1, 2, 3], 1)]
    assert document_spans([1, 2, 3, 4, 5, 6], 0, 4) == [
        Span([0, 1, 2, 3], 1),
        Span([2, 3, 4, 5], 2),
        Span([4, 5, 6], 2),
    ]
    assert document_spans([], 0, 4) == []


@given(st.integers(0, 60), st.integers(2, 20))
def test_every_token_is_predicted_once_with_context(length, window):
    tokens = list(range(1, length + 1))
    spans = document_spans(tokens, 0, window)
    assert [token for span in spans for token in span.input_ids[span.start :]] == tokens
    assert all(len(span.input_ids) <= window and span.start >= 1 for span in spans)
    assert all(span.start >= window // 2 for span in spans[1:])


def test_too_long_a_text_is_an_error(model):
    assert len(span_logps(model, [Span([1] * 33, 1)], batch_tokens=64)[0]) == 32  # the last is never read
    with pytest.raises(DataError, match="34 tokens does not fit the model's max_position_embeddings 32"):
        span_logps(model, [Span([1] * 34, 1)], batch_tokens=64)


def test_logits_that_are_not_numbers_are_an_error(model):
    weight = model.model.norm.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight[0] = float("nan")
    try:
        with pytest.raises(DataError, match="not numbers"):
            span_logps(model, SPANS, batch_tokens=64)
    finally:
        with torch.no_grad():
            weight.copy_(kept)
