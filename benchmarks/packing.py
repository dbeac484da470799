"""packing: documents to a token stream on one core, against the Hugging Face tokenizer writing the same file."""

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerFast

from benchmarks.bpe_training import VOCAB_SIZE, byte_bpe_params, write_shards
from benchmarks.corpus import open_corpus
from benchmarks.harness import Comparison, Options, alternate
from forgeline.packing.pack import pack
from forgeline.packing.params import PackParams
from forgeline.tokenization.byte_bpe import train_byte_bpe
from forgeline.tokenization.encoding import CorpusEncoder

_PEER_SHARE = 10  # the peer packs one of so many shards: it is some twenty times slower


def run(options: Options, num_pairs: int = 3) -> Comparison:
    """Million tokens per CPU second of both, reading and writing included; the streams must be equal."""
    os.environ["RAYON_NUM_THREADS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    texts = [text for _, text in open_corpus(options, 100.0).documents()]
    with TemporaryDirectory() as name:
        folder = Path(name)
        shards = write_shards(folder / "documents.parquet", texts)
        sample = shards[: max(1, len(shards) // _PEER_SHARE)]
        tokenizer = train_byte_bpe(shards, byte_bpe_params(VOCAB_SIZE, 2))
        ours, peer = alternate(
            lambda: _ours(shards, tokenizer, folder), lambda: _peer(sample, tokenizer, folder), num_pairs
        )
        packed = np.fromfile(folder / "ours.bin", dtype=np.uint16)
        expected = np.fromfile(folder / "peer.bin", dtype=np.uint16)
        equal = np.array_equal(packed[: len(expected)], expected)
    print(f"{len(packed):,} tokens; the peer's {len(expected):,} are {'equal' if equal else 'NOT equal'}")
    return Comparison(
        "packing",
        ours,
        peer,
        "million tokens per CPU second",
        target=5.0,
        higher_is_better=True,
        floor=15.0,
        others_hold=equal,
    )


def _ours(shards: list[Path], tokenizer: PreTrainedTokenizerFast, folder: Path) -> float:
    start = time.process_time()
    params = PackParams(sequence_length=512, dtype="uint16")
    facts = pack(shards, CorpusEncoder(tokenizer), params, folder, "ours")
    return facts.num_tokens / (time.process_time() - start) / 1e6


def _peer(shards: list[Path], tokenizer: PreTrainedTokenizerFast, folder: Path) -> float:
    start = time.process_time()
    num_tokens = 1
    with (folder / "peer.bin").open("wb") as file:
        file.write(np.array([tokenizer.bos_token_id], dtype=np.uint16).tobytes())
        for shard in shards:
            texts = pq.read_table(shard, columns=["text"])["text"].to_pylist()
            for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
                file.write(np.array([*ids, tokenizer.bos_token_id], dtype=np.uint16).tobytes())
                num_tokens += len(ids) + 1
    return num_tokens / (time.process_time() - start) / 1e6
