"""Token ids of whole corpora, by the fastest engine that gives exactly the tokenizer's own.

gigatoken encodes byte-level BPE some fifty times faster than the `tokenizers` library. It is young, so its ids are held
against the library's on a sample of every corpus. A tokenizer that it does not know is left to the library.
"""

import json
import os
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import awkward
import gigatoken
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from forgeline.core.errors import DataError
from forgeline.tokenization.domain_words import BLANK

_SAMPLED_DOCUMENTS = 16  # of every shard, held against the library
_LIBRARY_BATCH = 1_000


@dataclass(frozen=True)
class TokenIds:
    """The ids of N documents in a row: document i has `ids[starts[i]:starts[i + 1]]`."""

    ids: NDArray[np.uint32]
    starts: NDArray[np.int64]


@dataclass(frozen=True)
class RoundTrip:
    """How many texts decoding does not give back as they were normalized, and how many normalization changed."""

    num_failures: int
    num_normalized: int

    def __add__(self, other: "RoundTrip") -> "RoundTrip":
        """The sums."""
        return RoundTrip(self.num_failures + other.num_failures, self.num_normalized + other.num_normalized)


class CorpusEncoder:
    """Encodes documents without adding anything. Text that spells a special token is text, not that token.

    Attributes:
        vocab_size: Entries of the tokenizer, special tokens included.
        end_of_document: The id that goes between documents.
        unknown: The id of text that the vocabulary cannot express, or -1 when there is none.
        engine: Which library encodes: `gigatoken` or `tokenizers`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Prepares both engines from the tokenizer's own description."""
        description: str = tokenizer.backend_tokenizer.to_str()
        self.vocab_size = len(tokenizer)
        self.end_of_document = int(tokenizer.bos_token_id)
        self.unknown = -1 if tokenizer.unk_token_id is None else int(tokenizer.unk_token_id)
        self._library = Tokenizer.from_str(description)
        self._library.encode_special_tokens = True
        normalizer = self._library.normalizer
        # Models of SentencePiece's manner write spaces as BLANK, some with one more before the text.
        self._writes_blanks = any(entry.startswith(BLANK) for entry in self._library.get_vocab())
        self._prefix = " " if normalizer and normalizer.normalize_str("a").startswith(BLANK) else ""
        self._fast = _fast_engine(description)
        self.engine = "tokenizers" if self._fast is None else "gigatoken"

    def encode(self, texts: pa.ChunkedArray) -> TokenIds:
        """The ids of every text.

        Raises:
            DataError: The fast engine gives other ids than the library for a document of the sample.
        """
        if self._fast is None:
            return self._encode_with_library(texts.to_pylist())
        column = texts.combine_chunks()
        found = self._encode_fast(column)
        step = max(1, len(column) // _SAMPLED_DOCUMENTS)
        self._check(column, found, range(0, len(column), step))
        return found

    def round_trip(self, texts: pa.ChunkedArray, encoded: TokenIds) -> RoundTrip:
        """Decodes encoded texts and compares with them, as they are after the tokenizer's own normalization."""
        rows = [encoded.ids[start:end].tolist() for start, end in pairwise(encoded.starts)]
        decoded = self._library.decode_batch(rows, skip_special_tokens=False)
        num_failures = num_normalized = 0
        for text, back in zip(texts.to_pylist(), decoded, strict=True):
            normalized = self.normalize(text)
            num_failures += back != normalized
            num_normalized += text != normalized
        return RoundTrip(num_failures, num_normalized)

    def normalize(self, text: str) -> str:
        """What decoding is to give back for a text; the text itself when the tokenizer changes nothing."""
        normalizer = self._library.normalizer
        if normalizer is None:
            return text
        normalized: str = normalizer.normalize_str(text)
        if not self._writes_blanks:
            return normalized
        return normalized.replace(BLANK, " ").removeprefix(self._prefix)

    def count(self, token: int, texts: pa.ChunkedArray) -> int:
        """How often a token occurs in the encoded texts."""
        return int((self.encode(texts).ids == token).sum())

    def _encode_fast(self, column: pa.StringArray) -> TokenIds:
        offsets, data = _buffers(column)
        strings = awkward.contents.ListOffsetArray(
            awkward.index.Index64(offsets),
            awkward.contents.NumpyArray(data, parameters={"__array__": "char"}),
            parameters={"__array__": "string"},
        )
        encoded = self._fast.encode_batch(awkward.Array(strings))
        layout = awkward.to_layout(encoded)
        return TokenIds(np.asarray(layout.content.data), np.asarray(layout.offsets.data).astype(np.int64))

    def _encode_with_library(self, texts: list[str]) -> TokenIds:
        pieces, starts = [np.empty(0, dtype=np.uint32)], [0]
        for first in range(0, len(texts), _LIBRARY_BATCH):
            for encoded in self._library.encode_batch_fast(
                texts[first : first + _LIBRARY_BATCH], add_special_tokens=False
            ):
                pieces.append(np.array(encoded.ids, dtype=np.uint32))
                starts.append(starts[-1] + len(encoded.ids))
        return TokenIds(np.concatenate(pieces), np.array(starts, dtype=np.int64))

    def _check(self, column: pa.StringArray, found: TokenIds, sample: range) -> None:
        expected = self._encode_with_library([column[index].as_py() for index in sample])
        for number, index in enumerate(sample):
            fast = found.ids[found.starts[index] : found.starts[index + 1]]
            slow = expected.ids[expected.starts[number] : expected.starts[number + 1]]
            if not np.array_equal(fast, slow):
                raise DataError(
                    f"gigatoken {version('gigatoken')} and tokenizers give other ids for the document that begins "
                    f"with {column[index].as_py()[:60]!r}: set FORGELINE_ENCODER=tokenizers and report the text to "
                    "gigatoken"
                )


def _fast_engine(description: str) -> Any:
    """A gigatoken tokenizer that knows no special tokens, or None when it cannot encode like this tokenizer."""
    if os.environ.get("FORGELINE_ENCODER") == "tokenizers":
        return None
    content = json.loads(description)
    model, words = content["model"], content["pre_tokenizer"] or {}
    splits_like_gpt2 = words.get("type") == "ByteLevel" and words["use_regex"] and not words["add_prefix_space"]
    if model["type"] != "BPE" or not splits_like_gpt2 or content["normalizer"] is not None or model["ignore_merges"]:
        return None
    content["added_tokens"] = []
    return gigatoken.Tokenizer.from_json(json.dumps(content))


def _buffers(column: pa.StringArray) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Offsets and bytes of an Arrow string array without nulls; the bytes are not copied."""
    _, offsets, data = column.buffers()
    if offsets is None or data is None:
        return np.zeros(len(column) + 1, dtype=np.int64), np.empty(0, dtype=np.uint8)
    window = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
    return window.astype(np.int64), np.frombuffer(data, dtype=np.uint8)
