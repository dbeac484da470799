"""Documents to token shards: `<split>.bin` holds the ids one after another, `<split>.idx` where each document ends.

The stream starts with the end-of-document token and has one after every document, so a model always sees a document's
start behind it. Nothing is padded or cut: windows run over document boundaries, and only the last tokens of the stream,
fewer than one window, are never seen (`num_unused_tokens`).
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.progress import progress
from forgeline.core.storage import sha256_path
from forgeline.packing.params import PackParams

_BATCH_DOCUMENTS = 1_000


@dataclass(frozen=True)
class ShardFacts:
    """What a shard holds; stored in the manifest and checked when the shard is opened."""

    num_documents: int
    num_tokens: int
    num_windows: int
    num_unused_tokens: int
    num_bytes: int
    sha256: str

    def as_json(self) -> dict[str, int | str]:
        """The manifest's form."""
        return asdict(self)


def pack(
    documents: pa.Table, tokenizer: PreTrainedTokenizerBase, params: PackParams, folder: Path, split: str
) -> ShardFacts:
    """Encodes documents into `folder`/`split`.bin and .idx.

    Args:
        documents: Documents in the order of the stream.
        tokenizer: Encodes them; its `bos_token_id` marks the end of a document.
        params: Window length and storage type.
        folder: Where the two files go.
        split: Their name.

    Raises:
        ParamsError: The vocabulary does not fit the storage type.
        DataError: The tokens do not fill one window.
    """
    if len(tokenizer) > np.iinfo(params.dtype).max + 1:
        raise ParamsError(
            f"params.yaml: pack.dtype {params.dtype} cannot hold a vocabulary of {len(tokenizer)}: set it to uint32"
        )
    folder.mkdir(parents=True, exist_ok=True)
    ends = [1]
    shard = folder / f"{split}.bin"
    with shard.open("wb") as file, progress(f"pack {split}", documents.num_rows, "documents") as bar:
        file.write(np.array([tokenizer.bos_token_id], dtype=params.dtype).tobytes())
        for batch in documents.select(["text"]).to_batches(max_chunksize=_BATCH_DOCUMENTS):
            for ids in tokenizer(batch.column(0).to_pylist(), add_special_tokens=False)["input_ids"]:
                file.write(np.array([*ids, tokenizer.bos_token_id], dtype=params.dtype).tobytes())
                ends.append(ends[-1] + len(ids) + 1)
            bar(batch.num_rows)
    np.array(ends, dtype=np.int64).tofile(folder / f"{split}.idx")
    return _facts(documents, ends[-1], params, shard, split)


def _facts(documents: pa.Table, num_tokens: int, params: PackParams, shard: Path, split: str) -> ShardFacts:
    # A window of n tokens needs n + 1 ids, the last one only as a label; it is also the first id of the next window.
    num_windows = (num_tokens - 1) // params.sequence_length
    if num_windows == 0:
        raise DataError(
            f"the {split} documents hold {num_tokens} tokens, less than one window: lower pack.sequence_length "
            f"({params.sequence_length}), add text, or give the split a larger share in `curate`"
        )
    return ShardFacts(
        num_documents=documents.num_rows,
        num_tokens=num_tokens,
        num_windows=num_windows,
        num_unused_tokens=num_tokens - 1 - num_windows * params.sequence_length,
        num_bytes=sum(len(text.encode()) for text in documents["text"].to_pylist()),
        sha256=sha256_path(shard),
    )
