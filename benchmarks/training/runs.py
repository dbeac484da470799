"""What the training benchmarks learn from, and the process that each engine runs in."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.bpe_training import byte_bpe_params, write_shards
from benchmarks.corpus import CACHE, open_corpus
from benchmarks.harness import Options
from benchmarks.training.setting import Job, Outcome, Setting
from benchmarks.workspace import peak_kilobytes_until_end
from forgeline.core.storage import read_json, write_json
from forgeline.packing.dataset import MANIFEST
from forgeline.packing.pack import pack
from forgeline.packing.params import PackParams
from forgeline.tokenization.byte_bpe import train_byte_bpe
from forgeline.tokenization.encoding import CorpusEncoder

_ROOT = Path(__file__).resolve().parent.parent.parent
_PEERS = CACHE / "litgpt"
# litgpt asks for an older huggingface_hub than the pipeline's, which training a model from scratch does not need.
_LITGPT = ("litgpt==0.5.13", "lightning==2.6.6", "lightning-utilities==0.15.3", "torchmetrics==1.9.0")
_LITGPT_NEEDS = ("jsonargparse==4.41.0",)
_VALIDATION_DOCUMENTS = 400


def prepare(options: Options, setting: Setting) -> Path:
    """Packs a benchmark corpus for a setting, once; returns the folder."""
    corpus = open_corpus(options, 20.0)
    folder = CACHE / f"packed-{setting.name}-{corpus.folder.name}"
    if (folder / MANIFEST).is_file():
        return folder
    texts = [text for _, text in corpus.documents()]
    parts = {"validation": texts[:_VALIDATION_DOCUMENTS], "train": texts[_VALIDATION_DOCUMENTS:]}
    shards = {split: write_shards(folder / split, part) for split, part in parts.items()}
    encoder = CorpusEncoder(train_byte_bpe(shards["train"], byte_bpe_params(setting.vocab_size, 1)))
    packing = PackParams(sequence_length=setting.sequence_length, dtype="uint16")
    facts = {split: pack(shards[split], encoder, packing, folder, split).as_json() for split in parts}
    weights = {source: 1.0 for source in facts["train"]["sources"]}
    write_json(folder / MANIFEST, {**packing.model_dump(), "tokenizer": "benchmark", "weights": weights, **facts})
    return folder


def run_engine(engine: str, job: Job) -> Outcome:
    """Runs one engine in a process of its own, on one thread."""
    if engine == "litgpt":
        _install_litgpt()
    report = CACHE / f"outcome-{engine}-{os.getpid()}.json"
    command = [sys.executable, "-m", "benchmarks.training.engines", engine, json.dumps(asdict(job)), str(report)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "FORGELINE_TRACKING": "off"}
    environment["PYTHONPATH"] = os.pathsep.join([str(_ROOT / "src"), str(_ROOT), str(_PEERS)])
    with (CACHE / "engine.log").open("wb") as said:
        process = subprocess.Popen(command, cwd=_ROOT, env=environment, stdout=said, stderr=said)
        peak = peak_kilobytes_until_end(process.pid)
        if process.wait() != 0:
            sys.exit(f"{engine} failed\n{(CACHE / 'engine.log').read_text()[-3000:]}")
    found: dict[str, Any] = read_json(report)
    report.unlink()
    outcome = Outcome(found["tokens_per_second"], found["validation_loss"], peak * 1024 / 1e6)
    print(
        f"{time.strftime('%H:%M:%S')} {engine}{' compiled' if engine == 'ours' and job.compile else ''}: "
        f"{outcome.tokens_per_second:.0f} tokens/s, validation loss {outcome.validation_loss:.4f}, "
        f"peak {outcome.peak_megabytes:.0f} MB",
        flush=True,
    )
    return outcome


def _install_litgpt() -> None:
    if not (_PEERS / "litgpt").is_dir():
        install = ["uv", "pip", "install", "--quiet", "--no-deps", "--target", str(_PEERS), *_LITGPT, *_LITGPT_NEEDS]
        subprocess.run([str(Path(sys.executable).parent / install[0]), *install[1:]], check=True)
