"""A tokenizer's bytes are a function of text and parameters, however many threads and cores there are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import byte_bpe_params
from tests.unit.tokenization.tokenizer_params import adopt_params, extend_params, sentencepiece_params

from forgeline.core.storage import sha256_path
from forgeline.tokenization.train import make_tokenizer

CODE = """
import json, os, sys
from pathlib import Path
if sys.argv[1] == "one core":
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
from forgeline.core.shards import shard_paths
from forgeline.tokenization.params import TokenizerParams
from forgeline.tokenization.train import make_tokenizer
for name, (folder, values) in json.loads(Path("kinds.json").read_text()).items():
    make_tokenizer(shard_paths(Path(folder)), TokenizerParams.model_validate(values).root).save(Path("made", name))
"""
# Threads of rayon (tokenizers, gigatoken), of OpenMP, the cores to run on, and the seed of Python's hashes.
SETTINGS = [("1", "one core", "0"), ("2", "all cores", "1"), ("4", "all cores", "2")]


@pytest.fixture(scope="module")
def kinds(origins: dict[str, Path], medical_shards: list[Path], tmp_path_factory: pytest.TempPathFactory):
    folder = str(medical_shards[0].parent)
    words = tmp_path_factory.mktemp("words") / "words.txt"
    words.write_text("microcephaly 9\nsyndactyly 9\nhypertelorism 9\n")
    params = {
        "byte_bpe": byte_bpe_params(700, 2),
        "byte_bpe_by_the_library": byte_bpe_params(700, 2, split_digits=True, normalization="nfkc"),
        "unigram": sentencepiece_params("sentencepiece_unigram", vocab_size=900),
        "bpe": sentencepiece_params("sentencepiece_bpe", vocab_size=900),
        "adopt": adopt_params(origins["byte_bpe"], additional_special_tokens=["<|tool|>", "<|code|>"]),
        "extend_bytes": extend_params(origins["byte_bpe"], 900, words=str(words)),
        "extend_unigram": extend_params(origins["sentencepiece_unigram"], 900, words=str(words)),
        "extend_bpe": extend_params(origins["sentencepiece_bpe"], 900, words=str(words)),
    }
    return {name: (folder, values.model_dump(mode="json")) for name, values in params.items()}


@pytest.mark.slow
def test_threads_cores_and_hash_seeds_change_no_byte(kinds, tmp_path: Path) -> None:
    found = []
    for number, (threads, cores, seed) in enumerate(SETTINGS):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "kinds.json").write_text(json.dumps(kinds))
        environment = {
            **os.environ,
            "RAYON_NUM_THREADS": threads,
            "OMP_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "true",
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": str(Path("src").resolve()),
        }
        subprocess.run([sys.executable, "-c", CODE, cores], cwd=folder, env=environment, check=True)
        found.append({name: sha256_path(folder / "made" / name) for name in kinds})
    assert found[1:] == found[:1] * 2
    assert len(set(found[0].values())) == len(kinds)


@pytest.mark.parametrize("kind", ["sentencepiece_unigram", "sentencepiece_bpe"])
def test_a_second_training_gives_the_same_bytes(kind: str, medical_shards: list[Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_tokenizer(medical_shards, sentencepiece_params(kind)).save(tmp_path / name)
    assert sha256_path(tmp_path / "one") == sha256_path(tmp_path / "two")
