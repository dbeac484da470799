"""dedup: exact and near duplicates out of a corpus on one core, against datatrove; others are timed if installed.

All read files and write the survivors; ours also the dropped documents, the clusters and the manifest, and splits. All
compare runs of five words by 112 hashes in 14 bands. Recall and precision are those of the planted copies: junk, which
holds copies of itself without a label, counts neither way.
"""

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import pyarrow.parquet as pq

from benchmarks.corpus import Corpus, Label, open_corpus
from benchmarks.harness import Comparison, Options, alternate
from forgeline.core.records import DOCUMENTS, document_id, documents_table
from forgeline.core.shards import ShardWriter
from forgeline.runner.tasks import WORKERS_VARIABLE
from forgeline.text.curate import CurateOutputs, CurateParams, curate, source_shards
from forgeline.text.minhash import MinHashParams

NUM_BANDS = 14
NUM_ROWS = 8
NUM_WORDS = 5
THRESHOLD = 0.8
LEAST_RECALL = LEAST_PRECISION = 0.995

_SHARD_BYTES = 16_000_000
_PEER_BYTES = 4_000_000  # a peer gets the first so many bytes: the reference needs minutes for the whole
_SOURCE = "corpus"
_TABLES = ("train", "validation", "test", "dropped")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Document:
    """A document of the corpus."""

    name: str
    text: str


def run(options: Options, num_pairs: int = 3) -> Comparison:
    """Megabytes of text per CPU second of both; ours must also find and keep what the labels say."""
    os.environ[WORKERS_VARIABLE] = "1"
    corpus = open_corpus(options, 100.0)
    documents = [Document(name, text) for name, text in corpus.documents()]
    few = _beginning(documents)
    with TemporaryDirectory() as name:
        folder = Path(name)
        _write_shards(folder / "clean", documents)
        _write_lines(folder / "lines" / "00000.jsonl", few)
        ours, peer = alternate(
            lambda: corpus.text_bytes / 1e6 / _seconds(lambda: _ours(folder)),
            lambda: _megabytes(few) / _seconds(lambda: _datatrove(folder)),
            num_pairs,
        )
        others_hold = _report("forgeline", ours, documents, _dropped_by_us(folder, documents), corpus)
        _report("datatrove", peer, few, _missing_from_lines(folder / "kept", few), corpus)
        for library, remove in (("datasketch", _datasketch), ("rensa", _rensa)):
            if find_spec(library):
                rate = _megabytes(few) / _seconds(lambda remove=remove: remove(folder))
                _report(library, rate, few, _missing_from_lines(folder / "kept", few), corpus)
            else:
                print(f"{library}: not installed")
    return Comparison(
        "dedup", ours, peer, "MB per CPU second", 100.0, higher_is_better=True, floor=80.0, others_hold=others_hold
    )


def _beginning(documents: list[Document]) -> list[Document]:
    size = 0
    for count, document in enumerate(documents, start=1):
        size += len(document.text.encode())
        if size >= _PEER_BYTES:
            return documents[:count]
    return documents


def _megabytes(documents: list[Document]) -> float:
    return sum(len(document.text.encode()) for document in documents) / 1e6


def _seconds(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _write_shards(folder: Path, documents: list[Document]) -> None:
    with ShardWriter(folder / _SOURCE / "documents.parquet", DOCUMENTS, _SHARD_BYTES) as writer:
        for start in range(0, len(documents), 1000):
            writer.write(documents_table([document.text for document in documents[start : start + 1000]], _SOURCE))


def _write_lines(path: Path, documents: list[Document]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [orjson.dumps({"id": document.name, "text": document.text}) for document in documents]
    path.write_bytes(b"\n".join(lines) + b"\n")


def _report(name: str, rate: float, documents: list[Document], dropped: set[str], corpus: Corpus) -> bool:
    """Prints what one remover did; says whether it is good enough."""
    recall, precision = score(dropped, {document.name: corpus.labels[document.name] for document in documents})
    print(f"{name}: {rate:.2f} MB per CPU second, recall {recall:.4f}, precision {precision:.4f}")
    return recall >= LEAST_RECALL and precision >= LEAST_PRECISION


def score(dropped: set[str], labels: dict[str, Label]) -> tuple[float, float]:
    """Share of the planted copies that were dropped, and of the dropped documents that are planted copies.

    A copy whose original comes earlier is to be dropped; the corpus puts every original before its copies.
    """
    copies = {name for name, label in labels.items() if label.kind in ("near", "exact")}
    judged = {name for name in dropped if labels[name].kind != "junk"}
    hits = len(copies & judged)
    return hits / max(len(copies), 1), hits / max(len(judged), 1)


def _ours(folder: Path) -> None:
    params = CurateParams(
        memory_megabytes=1024,
        exact=True,
        minhash=MinHashParams(
            enabled=True,
            seed=17,
            num_permutations=NUM_BANDS * NUM_ROWS,
            num_bands=NUM_BANDS,
            shingle_unit="words",
            shingle_size=NUM_WORDS,
            threshold=THRESHOLD,
        ),
        decontaminate_words=13,
        validation_fraction=0.02,
        test_fraction=0.03,
    )
    shutil.rmtree(folder / "curate", ignore_errors=True)
    outputs = CurateOutputs(
        folders={name: folder / "curate" / name for name in _TABLES},
        names={name: name for name in _TABLES},
        clusters=folder / "curate" / "clusters",
        manifest=folder / "curate" / "manifest.json",
    )
    curate(source_shards(folder / "clean", [_SOURCE]), [], params, outputs, folder / "scratch")


def _dropped_by_us(folder: Path, documents: list[Document]) -> set[str]:
    """Names of the documents dropped. Documents of equal text share an id; of these the first stays, if any."""
    drops = Counter(pq.read_table(folder / "curate" / "dropped", columns=["doc_id"])["doc_id"].to_pylist())
    names = set()
    for document in reversed(documents):
        doc_id = document_id(document.text)
        if drops[doc_id]:
            drops[doc_id] -= 1
            names.add(document.name)
    return names


def _missing_from_lines(folder: Path, documents: list[Document]) -> set[str]:
    kept = {orjson.loads(line)["id"] for path in folder.glob("*.jsonl") for line in path.read_bytes().splitlines()}
    return {document.name for document in documents} - kept


def _datatrove(folder: Path) -> None:
    """Its four steps as its example has them, with SHA-1: its default hash fails with current versions of xxhash."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.logging import logger

    logger.disable("datatrove")
    work = folder / "datatrove"
    for path in (work, folder / "kept"):
        shutil.rmtree(path, ignore_errors=True)
    config = MinhashConfig(
        n_grams=NUM_WORDS,
        num_buckets=NUM_BANDS,
        hashes_per_bucket=NUM_ROWS,
        hash_config=HashConfig(hash_fc="sha1", precision=64),
    )
    signatures, pairs, removed = (str(work / step) for step in ("signatures", "pairs", "removed"))
    reader = JsonlReader(str(folder / "lines"))
    writer = JsonlWriter(str(folder / "kept"), output_filename="${rank}.jsonl", compression=None)
    steps = (
        ([reader, MinhashDedupSignature(signatures, config)], 1),
        ([MinhashDedupBuckets(signatures, pairs, config=config)], NUM_BANDS),
        ([MinhashDedupCluster(pairs, removed, config=config)], 1),
        ([reader, MinhashDedupFilter(removed), writer], 1),
    )
    for number, (pipeline, tasks) in enumerate(steps):
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=str(work / f"log{number}")).run()


def _shingles(text: str) -> list[str]:
    words = _WORD.findall(text.lower())
    return [" ".join(words[start : start + NUM_WORDS]) for start in range(max(len(words) - NUM_WORDS + 1, 1))]


def _read_lines(folder: Path) -> Iterator[Document]:
    for path in sorted((folder / "lines").iterdir()):
        for line in path.read_bytes().splitlines():
            entry = orjson.loads(line)
            yield Document(entry["id"], entry["text"])


def _datasketch(folder: Path) -> None:
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=NUM_BANDS * NUM_ROWS, params=(NUM_BANDS, NUM_ROWS))
    kept = {}
    for document in _read_lines(folder):
        signature = MinHash(num_perm=NUM_BANDS * NUM_ROWS)
        signature.update_batch([shingle.encode() for shingle in set(_shingles(document.text))])
        if not any(signature.jaccard(kept[name][1]) >= THRESHOLD for name in index.query(signature)):
            index.insert(document.name, signature)
            kept[document.name] = (document, signature)
    _write_lines(folder / "kept" / "0.jsonl", [document for document, _ in kept.values()])


def _rensa(folder: Path) -> None:
    from rensa import RMinHash, RMinHashDeduplicator

    num_permutations = NUM_BANDS * NUM_ROWS
    seen = RMinHashDeduplicator(
        threshold=THRESHOLD, num_perm=num_permutations, use_lsh=True, num_bands=NUM_BANDS, seed=17
    )
    kept = []
    for document in _read_lines(folder):
        signature = RMinHash(num_perm=num_permutations, seed=17)
        signature.update(_shingles(document.text))
        if seen.add(document.name, signature):
            kept.append(document)
    _write_lines(folder / "kept" / "0.jsonl", kept)
