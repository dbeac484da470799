"""What a tokenizer does to text: compression, fertility by source, round trip."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerFast

from forgeline.core.records import read_documents
from forgeline.tokenization.encoding import CorpusEncoder


@dataclass
class SourceReport:
    """Sums over the documents of one source; words are separated by white space."""

    num_documents: int = 0
    num_bytes: int = 0
    num_tokens: int = 0
    num_words: int = 0

    def as_json(self) -> dict[str, float]:
        """The sums and their ratios; bytes per token is compression, tokens per word fertility."""
        return {
            "num_documents": self.num_documents,
            "num_tokens": self.num_tokens,
            "bytes_per_token": self.num_bytes / max(self.num_tokens, 1),
            "tokens_per_word": self.num_tokens / max(self.num_words, 1),
        }


@dataclass(frozen=True)
class TokenizerReport:
    """What a tokenizer does to some text.

    Attributes:
        vocab_size: Entries, special tokens included.
        num_used: Entries that occur in the text.
        num_unknown: Tokens that stand for text the vocabulary cannot express.
        num_round_trip_failures: Documents that decoding does not give back.
        total: Sums over all sources.
        sources: Sums by source.
    """

    vocab_size: int
    num_used: int
    num_unknown: int
    num_round_trip_failures: int
    total: SourceReport
    sources: dict[str, SourceReport]

    def as_json(self) -> dict[str, object]:
        """The form of the metrics file."""
        return {
            "vocab_size": self.vocab_size,
            "used_fraction": self.num_used / self.vocab_size,
            "unknown_fraction": self.num_unknown / max(self.total.num_tokens, 1),
            "num_round_trip_failures": self.num_round_trip_failures,
            "bytes_per_token": self.total.as_json()["bytes_per_token"],
            "tokens_per_word": self.total.as_json()["tokens_per_word"],
            "sources": {name: source.as_json() for name, source in self.sources.items()},
        }


def report(tokenizer: PreTrainedTokenizerFast, shards: Sequence[Path]) -> TokenizerReport:
    """Encodes all documents of some shards and decodes them again."""
    encoder = CorpusEncoder(tokenizer)
    total, sources = SourceReport(), dict[str, SourceReport]()
    counts = np.zeros(encoder.vocab_size, dtype=np.int64)
    num_failures = 0
    for shard in shards:
        documents = read_documents(shard)
        texts = documents["text"]
        encoded = encoder.encode(texts)
        counts += np.bincount(encoded.ids, minlength=encoder.vocab_size)
        num_tokens = np.diff(encoded.starts)
        num_words = np.array([len(text.split()) for text in texts.to_pylist()], dtype=np.int64)
        num_bytes = pc.binary_length(texts).to_numpy().astype(np.int64)
        num_failures += encoder.num_round_trip_failures(texts, encoded)
        names = np.array(documents["source"].to_pylist(), dtype=object)
        for name in dict.fromkeys(names.tolist()):
            rows = names == name
            for sums in (total, sources.setdefault(name, SourceReport())):
                sums.num_documents += int(rows.sum())
                sums.num_bytes += int(num_bytes[rows].sum())
                sums.num_tokens += int(num_tokens[rows].sum())
                sums.num_words += int(num_words[rows].sum())
    num_unknown = 0 if tokenizer.unk_token_id is None else int(counts[tokenizer.unk_token_id])
    return TokenizerReport(encoder.vocab_size, int((counts > 0).sum()), num_unknown, num_failures, total, sources)
