"""bpe_training: a byte-level BPE vocabulary of 32,768 from text, against Hugging Face tokenizers, with equal merges."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from benchmarks.corpus import open_corpus
from benchmarks.harness import Comparison, Options, alternate
from forgeline.core.records import documents_table
from forgeline.core.shards import ShardWriter, shard_paths
from forgeline.tokenization.byte_bpe import train_byte_bpe
from forgeline.tokenization.params import SPECIAL_TOKENS, ByteBpeParams

VOCAB_SIZE = 32_768
_SHARD_BYTES = 16_000_000
_BATCH_DOCUMENTS = 1_000


def run(options: Options, num_pairs: int = 3) -> Comparison:
    """CPU seconds of both from the same text, ours read from Parquet shards, the peer's already in memory."""
    texts = [text for _, text in open_corpus(options, 100.0).documents()]
    with TemporaryDirectory() as folder:
        shards = write_shards(Path(folder) / "documents.parquet", texts)
        merges: dict[str, list[list[str]]] = {}
        ours, peer = alternate(
            lambda: _timed(merges, "ours", lambda: _ours(shards)),
            lambda: _timed(merges, "peer", lambda: _peer(texts)),
            num_pairs,
        )
    equal = merges["ours"] == merges["peer"]
    print(f"{len(merges['ours'])} merges, {'equal' if equal else 'NOT equal'}")
    return Comparison("bpe_training", ours, peer, "CPU seconds", target=0.2, others_hold=equal)


def write_shards(folder: Path, texts: list[str]) -> list[Path]:
    """The texts as documents, in shards of 16 MB."""
    table: pa.Table = documents_table(texts, "benchmark")
    with ShardWriter(folder, table.schema, _SHARD_BYTES) as writer:
        writer.write(table)
    return shard_paths(folder)


def byte_bpe_params(vocab_size: int, min_frequency: int) -> ByteBpeParams:
    """The plain kind, which gigatoken trains."""
    return ByteBpeParams(
        kind="byte_bpe",
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        normalization="none",
        split_digits=False,
        additional_special_tokens=[],
        chat_template="forgeline",
    )


def _timed(merges: dict[str, list[list[str]]], name: str, train: Callable[[], str]) -> float:
    start = time.process_time()
    description = train()
    seconds = time.process_time() - start
    merges[name] = json.loads(description)["model"]["merges"]
    return seconds


def _ours(shards: list[Path]) -> str:
    return str(train_byte_bpe(shards, byte_bpe_params(VOCAB_SIZE, 2)).backend_tokenizer.to_str())


def _peer(texts: list[str]) -> str:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    batches = (texts[start : start + _BATCH_DOCUMENTS] for start in range(0, len(texts), _BATCH_DOCUMENTS))
    core.train_from_iterator(batches, trainer=trainer)
    return core.to_str()
