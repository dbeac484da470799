"""baseline: the n-gram figure, computed once more by counting with dictionaries."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from tokenizers import Tokenizer

from tests.clone import Clone
from tests.pipeline.outputs import EVALUATED, params, rows

pytestmark = pytest.mark.slow

END = 0


def test_bits_per_byte_by_an_independent_witten_bell(smoke: Clone) -> None:
    """P_n(w | h) = (c(h, w) + T(h) P_{n-1}(w | h')) / (c(h) + T(h)); every history is cut at the document's start."""
    order, vocab_size = params(smoke)["baseline"]["ngram_order"], params(smoke)["tokenizer"]["vocab_size"]
    stream = np.fromfile(smoke.root / "data" / "pack" / "train.bin", dtype="<u2").tolist()
    following: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for n in range(order):
        for place in range(n, len(stream)):
            following[tuple(stream[place - n : place])][stream[place]] += 1
    totals = {past: counts.total() for past, counts in following.items()}

    def probability(past: tuple[int, ...], token: int) -> float:
        shorter = probability(past[1:], token) if past else 1 / vocab_size
        if past not in totals:
            return shorter
        counts = following[past]
        return (counts[token] + len(counts) * shorter) / (totals[past] + len(counts))

    encoder = Tokenizer.from_file(str(smoke.root / "models" / "tokenizer" / "tokenizer.json"))
    texts = [row["text"] for row in rows(smoke, "data/holdout/documents.parquet")]
    nats = 0.0
    for text in texts:
        ids = [END, *encoder.encode(text, add_special_tokens=False).ids, END]
        for place in range(1, len(ids)):
            nats -= math.log(probability(tuple(ids[max(0, place - order + 1) : place]), ids[place]))
    expected = nats / math.log(2) / sum(len(text.encode()) for text in texts)
    assert smoke.metrics("baseline")["ngram_bits_per_byte"] == pytest.approx(expected, rel=1e-9)


def test_it_is_the_baseline_of_every_evaluation(smoke: Clone) -> None:
    figures = smoke.metrics("baseline")
    for model in EVALUATED:
        score = smoke.metrics(f"evaluate/{model}")["tasks"]["perplexity"]["bits_per_byte"]
        assert score["baseline"] == figures["ngram_bits_per_byte"]
        assert score["baseline_name"] == {2: "bigram", 3: "trigram"}[figures["ngram_order"]]
