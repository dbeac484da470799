"""Documents to token shards: `<split>.bin` holds the ids one after another, `<split>.idx` where each document ends.

The stream starts with the end-of-document token and has one after every document, so a model always sees a document's
start behind it. Nothing is padded or cut: windows run over document boundaries, and only the last tokens of the stream,
fewer than one window, are never seen (`num_unused_tokens`).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.progress import progress
from forgeline.core.records import read_documents
from forgeline.core.storage import sha256_path
from forgeline.packing.params import PackParams
from forgeline.tokenization.encoding import CorpusEncoder, TokenIds


@dataclass(frozen=True)
class SourceFacts:
    """The part of a shard that came from one source: `num_tokens` ids from position `first_token` on."""

    first_token: int
    num_tokens: int
    num_documents: int
    num_bytes: int


@dataclass(frozen=True)
class ShardFacts:
    """What a shard holds; stored in the manifest and checked when the shard is opened.

    `sources` are in the order of the stream. The end-of-document token that opens the stream belongs to none.
    """

    num_documents: int
    num_tokens: int
    num_windows: int
    num_unused_tokens: int
    num_bytes: int
    sha256: str
    sources: dict[str, SourceFacts]

    def as_json(self) -> dict[str, Any]:
        """The manifest's form."""
        return asdict(self)


def pack(shards: Sequence[Path], encoder: CorpusEncoder, params: PackParams, folder: Path, split: str) -> ShardFacts:
    """Encodes documents into `folder`/`split`.bin and .idx, one shard of documents in memory at a time.

    Args:
        shards: Files of documents in the order of the stream, those of a source next to each other.
        encoder: Encodes them and knows the token that ends a document.
        params: Window length and storage type.
        folder: Where the two files go.
        split: Their name.

    Raises:
        ParamsError: The vocabulary does not fit the storage type.
        DataError: The tokens do not fill one window, or two encoders disagree.
    """
    if encoder.vocab_size > np.iinfo(params.dtype).max + 1:
        raise ParamsError(
            f"params.yaml: pack.dtype {params.dtype} cannot hold a vocabulary of {encoder.vocab_size}: set it to uint32"
        )
    folder.mkdir(parents=True, exist_ok=True)
    stream, index = folder / f"{split}.bin", folder / f"{split}.idx"
    num_tokens = 1
    sources: dict[str, SourceFacts] = {}
    with (
        stream.open("wb") as ids_file,
        index.open("wb") as ends_file,
        progress(f"pack {split}", len(shards), "shards") as bar,
    ):
        ids_file.write(np.array([encoder.end_of_document], dtype=params.dtype).tobytes())
        ends_file.write(np.array([num_tokens], dtype=np.int64).tobytes())
        for shard in shards:
            documents = read_documents(shard)
            encoded = encoder.encode(documents["text"])
            ends = num_tokens + encoded.starts[1:] + np.arange(1, documents.num_rows + 1)
            ids_file.write(_with_ends(encoded, encoder.end_of_document).astype(params.dtype).tobytes())
            ends_file.write(ends.tobytes())
            _add_sources(sources, documents, np.concatenate([[num_tokens], ends]))
            num_tokens = int(ends[-1]) if len(ends) else num_tokens
            bar(1)
    return _facts(sources, num_tokens, params, stream, split)


def _with_ends(encoded: TokenIds, end: int) -> NDArray[np.uint32]:
    """The ids of all documents with `end` after each."""
    return np.insert(encoded.ids, encoded.starts[1:], np.uint32(end))


def _add_sources(sources: dict[str, SourceFacts], documents: pa.Table, edges: NDArray[np.int64]) -> None:
    """Adds each run of documents of one source to its facts; document i takes ids `edges[i]` to `edges[i + 1]`."""
    num_bytes = np.cumsum([0, *pc.binary_length(documents["text"]).to_pylist()])
    start = 0
    for source, run in groupby(documents["source"].to_pylist()):
        end = start + len(list(run))
        piece = SourceFacts(
            first_token=int(edges[start]),
            num_tokens=int(edges[end] - edges[start]),
            num_documents=end - start,
            num_bytes=int(num_bytes[end] - num_bytes[start]),
        )
        sources[source] = _joined(source, sources.get(source), piece)
        start = end


def _joined(source: str, before: SourceFacts | None, piece: SourceFacts) -> SourceFacts:
    if before is None:
        return piece
    if piece.first_token != before.first_token + before.num_tokens:
        raise ValueError(f"documents of source {source} are not next to each other")
    return SourceFacts(
        before.first_token,
        before.num_tokens + piece.num_tokens,
        before.num_documents + piece.num_documents,
        before.num_bytes + piece.num_bytes,
    )


def _facts(sources: dict[str, SourceFacts], num_tokens: int, params: PackParams, shard: Path, split: str) -> ShardFacts:
    # A window of n tokens needs n + 1 ids, the last one only as a label; it is also the first id of the next window.
    num_windows = (num_tokens - 1) // params.sequence_length
    if num_windows == 0:
        raise DataError(
            f"the {split} documents hold {num_tokens} tokens, less than one window: lower pack.sequence_length "
            f"({params.sequence_length}), add text, or give the split a larger share in `curate`"
        )
    return ShardFacts(
        num_documents=sum(facts.num_documents for facts in sources.values()),
        num_tokens=num_tokens,
        num_windows=num_windows,
        num_unused_tokens=num_tokens - 1 - num_windows * params.sequence_length,
        num_bytes=sum(facts.num_bytes for facts in sources.values()),
        sha256=sha256_path(shard),
        sources=sources,
    )
