"""What a tokenizer does to text: compression, fertility by source, use of the vocabulary, round trip."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from forgeline.core.records import read_documents
from forgeline.tokenization.encoding import CorpusEncoder, RoundTrip

_FREQUENCIES = (0, 1, 10, 100, 1_000)  # entries are counted by how often they occur, from each of these up


@dataclass
class SourceReport:
    """Sums over the documents of one source; words are separated by white space."""

    num_documents: int = 0
    num_bytes: int = 0
    num_tokens: int = 0
    num_words: int = 0
    num_unknown: int = 0

    def as_json(self) -> dict[str, float]:
        """The sums and their ratios; bytes per token is compression, tokens per word fertility."""
        return {
            "num_documents": self.num_documents,
            "num_tokens": self.num_tokens,
            "bytes_per_token": self.num_bytes / max(self.num_tokens, 1),
            "tokens_per_word": self.num_tokens / max(self.num_words, 1),
            "unknown_fraction": self.num_unknown / max(self.num_tokens, 1),
        }


@dataclass(frozen=True)
class TokenizerReport:
    """What a tokenizer does to some text.

    Attributes:
        vocab_size: Entries, special tokens included.
        counts: How often each entry occurs in the text.
        round_trip: What decoding gives back.
        total: Sums over all sources.
        sources: Sums by source.
    """

    vocab_size: int
    counts: NDArray[np.int64]
    round_trip: RoundTrip
    total: SourceReport
    sources: dict[str, SourceReport]

    def as_json(self) -> dict[str, object]:
        """The form of the metrics file."""
        return {
            "vocab_size": self.vocab_size,
            "used_fraction": int((self.counts > 0).sum()) / self.vocab_size,
            "unknown_fraction": self.total.as_json()["unknown_fraction"],
            "num_round_trip_failures": self.round_trip.num_failures,
            "num_changed_by_normalization": self.round_trip.num_normalized,
            "bytes_per_token": self.total.as_json()["bytes_per_token"],
            "tokens_per_word": self.total.as_json()["tokens_per_word"],
            "usage": usage(self.counts),
            "sources": {name: source.as_json() for name, source in self.sources.items()},
        }


def report(tokenizer: PreTrainedTokenizerFast, shards: Sequence[Path]) -> TokenizerReport:
    """Encodes all documents of some shards and decodes them again."""
    encoder = CorpusEncoder(tokenizer)
    total, sources = SourceReport(), dict[str, SourceReport]()
    counts = np.zeros(encoder.vocab_size, dtype=np.int64)
    round_trip = RoundTrip(0, 0)
    for shard in shards:
        documents = read_documents(shard)
        texts = documents["text"]
        encoded = encoder.encode(texts)
        counts += np.bincount(encoded.ids, minlength=encoder.vocab_size)
        num_tokens = np.diff(encoded.starts)
        num_words = np.array([len(text.split()) for text in texts.to_pylist()], dtype=np.int64)
        num_bytes = pc.binary_length(texts).to_numpy().astype(np.int64)
        unknown_before = np.concatenate([[0], np.cumsum(encoded.ids == encoder.unknown)])
        num_unknown = np.diff(unknown_before[encoded.starts])
        round_trip += encoder.round_trip(texts, encoded)
        names = np.array(documents["source"].to_pylist(), dtype=object)
        for name in dict.fromkeys(names.tolist()):
            rows = names == name
            for sums in (total, sources.setdefault(name, SourceReport())):
                sums.num_documents += int(rows.sum())
                sums.num_bytes += int(num_bytes[rows].sum())
                sums.num_tokens += int(num_tokens[rows].sum())
                sums.num_words += int(num_words[rows].sum())
                sums.num_unknown += int(num_unknown[rows].sum())
    return TokenizerReport(encoder.vocab_size, counts, round_trip, total, sources)


def usage(counts: NDArray[np.int64]) -> list[dict[str, int]]:
    """For each range of frequencies how many entries are in it and how many tokens of the text they are."""
    rows = []
    for least, next_least in zip(_FREQUENCIES, (*_FREQUENCIES[1:], None), strict=True):
        chosen = counts[(counts >= least) & (counts < next_least if next_least is not None else True)]
        rows.append({"at_least": least, "num_entries": len(chosen), "num_tokens": int(chosen.sum())})
    return rows
