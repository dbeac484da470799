import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgeline.evaluation.ngram import NgramModel, bits_per_byte


def naive_probability(stream: list[int], history: list[int], token: int, vocab_size: int) -> float:
    """The recursion of the module docstring, written out with loops over the stream."""
    shorter = naive_probability(stream, history[1:], token, vocab_size) if history else 1 / vocab_size
    n = len(history)
    followers = [stream[i + n] for i in range(len(stream) - n) if stream[i : i + n] == history]
    if not followers:
        return shorter
    types = len(set(followers))
    return (followers.count(token) + types * shorter) / (len(followers) + types)


@given(st.lists(st.integers(0, 4), min_size=3, max_size=40), st.lists(st.integers(0, 4), min_size=2, max_size=15))
def test_equals_the_recursion_written_with_loops(train: list[int], held_out: list[int]) -> None:
    model = NgramModel(np.array(train), 3, vocab_size=5)
    got = model.log_probabilities(np.array(held_out))
    expected = [
        math.log(naive_probability(train, held_out[max(0, i - 2) : i], held_out[i], 5)) for i in range(1, len(held_out))
    ]
    assert got == pytest.approx(expected)


def test_probabilities_of_all_continuations_sum_to_one() -> None:
    model = NgramModel(np.array([0, 1, 2, 0, 1, 1, 2, 0]), 3, vocab_size=4)
    total = sum(math.exp(model.log_probabilities(np.array([0, 1, token]))[1]) for token in range(4))
    assert total == pytest.approx(1.0)


def test_bits_per_byte_of_a_uniform_model_by_hand() -> None:
    # Trained on one token of id 0 only: P(0) = (1 + 1 * 1/4) / 2 = 0.625, others (0 + 1/4) / 2 = 0.125 = 3 bits.
    model = NgramModel(np.array([0]), 1, vocab_size=4)
    got = bits_per_byte(model, [[1, 2]], boundary=0, num_bytes=2)
    assert got == pytest.approx((3 + 3 - math.log2(0.625)) / 2)
