"""What tests share: a calm environment, a toy corpus, tokenizers and models small enough to build in milliseconds."""

import os
import shutil

# Before anything imports torch, transformers or mlflow.
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["FORGELINE_TRACKING"] = "off"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from forgeline.core.records import documents_table, write_documents
from forgeline.core.shards import shard_paths
from forgeline.core.storage import write_json
from forgeline.model.params import LlamaParams
from forgeline.packing.params import PackParams
from forgeline.tokenization.params import ByteBpeParams
from forgeline.training.params.pretrain import PretrainParams
from tests.clone import Clone

# How long an example takes depends on what else the machine does, and on whether a kernel has to be compiled first.
settings.register_profile("forgeline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("forgeline")

if TYPE_CHECKING:  # imported in the fixtures: most tests need none of them and should start at once
    from accelerate import Accelerator
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from forgeline.packing.dataset import TokenDataset


def shards_of(folder: Path, texts: list[str], source: str = "toy") -> list[Path]:
    """Documents with these texts, written as the corpus stages do."""
    write_documents(folder, documents_table(texts, source))
    return shard_paths(folder)


def byte_bpe_params(vocab_size: int, min_frequency: int, **changed: Any) -> ByteBpeParams:
    """Parameters of a plain byte-level BPE; keywords change single ones."""
    values = {
        "kind": "byte_bpe",
        "vocab_size": vocab_size,
        "min_frequency": min_frequency,
        "normalization": "none",
        "split_digits": False,
        "additional_special_tokens": [],
        "chat_template": "forgeline",
    }
    return ByteBpeParams(**{**values, **changed})


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """A repetitive corpus: a model that learns anything at all gets better at it."""
    names = ["Ann", "Ben", "Cleo", "Dan"]
    things = ["a red apple", "two green pears", "the last plum", "no fruit"]
    return [
        f"{names[i % 4]} has {things[i % 3]} and {names[(i + 1) % 4]} has {things[(i + 2) % 4]}." for i in range(48)
    ]


@pytest.fixture(scope="session")
def byte_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> "PreTrainedTokenizerFast":
    """No merges: after the four special tokens one id per byte, `!` 4, `a` 68, newline 202, space 224."""
    from forgeline.tokenization.byte_bpe import train_byte_bpe

    params = byte_bpe_params(260, 1)
    return train_byte_bpe(shards_of(tmp_path_factory.mktemp("x"), ["x"]), params)


@pytest.fixture(scope="session")
def tokenizer(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> "PreTrainedTokenizerFast":
    """A tokenizer with some merges."""
    from forgeline.tokenization.byte_bpe import train_byte_bpe

    params = byte_bpe_params(300, 2)
    return train_byte_bpe(shards_of(tmp_path_factory.mktemp("texts"), texts), params)


@pytest.fixture(scope="session")
def tokenizer_folder(tokenizer: "PreTrainedTokenizerFast", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer as the stage saves it; read only."""
    from forgeline.tokenization.assembly import save_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(tokenizer, folder)
    return folder


@pytest.fixture(scope="session")
def tiny_architecture() -> LlamaParams:
    """A Llama of some ten thousand parameters."""
    return LlamaParams(
        kind="llama",
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        attention_dropout=0.0,
        rope_theta=10000.0,
        rms_norm_eps=1e-5,
        initializer_range=0.1,
        tie_word_embeddings=True,
    )


@pytest.fixture(scope="session")
def packed_folder(
    texts: list[str], tokenizer: "PreTrainedTokenizerFast", tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The corpus in windows of 16 tokens, as the pack stage writes it; the last eight texts are for validation."""
    from forgeline.packing.dataset import MANIFEST
    from forgeline.packing.pack import pack
    from forgeline.tokenization.encoding import CorpusEncoder

    folder = tmp_path_factory.mktemp("packed")
    encoder = CorpusEncoder(tokenizer)
    params = PackParams(sequence_length=16, dtype="uint16")
    splits = {"train": texts[:40], "validation": texts[40:]}
    facts = {
        split: pack(shards_of(folder / f"{split}.parquet", part), encoder, params, folder, split).as_json()
        for split, part in splits.items()
    }
    write_json(folder / MANIFEST, {**params.model_dump(), "tokenizer": "toy", "weights": {"toy": 1.0}, **facts})
    return folder


@pytest.fixture(scope="session")
def packed(packed_folder: Path) -> dict[str, "TokenDataset"]:
    """Both splits of it."""
    from forgeline.packing.dataset import TokenDataset

    return {split: TokenDataset(packed_folder, split) for split in ("train", "validation")}


@pytest.fixture
def tiny_model(
    tiny_architecture: LlamaParams, tokenizer: "PreTrainedTokenizerFast"
) -> "Callable[[int], LlamaForCausalLM]":
    """Makes the tiny Llama with the random weights of a seed."""
    import torch

    from forgeline.model.build import build_model

    def make(seed: int) -> "LlamaForCausalLM":
        torch.manual_seed(seed)
        return build_model(tiny_architecture, tokenizer)

    return make


@pytest.fixture
def accelerator() -> "Callable[[str], Accelerator]":
    """Makes an accelerator on the CPU; its process-wide state forgets the precision of earlier tests."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState, PartialState

    def make(precision: str = "fp32") -> "Accelerator":
        for state in (AcceleratorState, GradientState, PartialState):
            state._reset_state()
        return Accelerator(mixed_precision="bf16" if precision == "bf16" else "no", cpu=True)

    return make


@pytest.fixture(scope="session")
def pretrain_params() -> Callable[..., PretrainParams]:
    """Makes parameters of a short run; keywords change single ones."""

    def make(**changed: Any) -> PretrainParams:
        values = {
            "init_from": None,
            "peft": "none",
            "lora": {"r": 2, "alpha": 4, "dropout": 0.0, "target_modules": ["v_proj", "q_proj", "down_proj"]},
            "train_embeddings": "none",
            "num_steps": 8,
            "num_processes": 1,
            "parallel": "ddp",
            "micro_batch_size": 4,
            "gradient_accumulation_steps": 1,
            "phases": [],
            "document_mask": False,
            "compile": False,
            "gradient_checkpointing": False,
            "optimizer": {
                "name": "muon",
                "learning_rate": 0.01,
                "muon_learning_rate": 0.02,
                "momentum": 0.95,
                "betas": [0.9, 0.95],
                "epsilon": 1e-8,
                "weight_decay": 0.1,
            },
            "schedule": {"name": "cosine", "warmup_steps": 2, "min_learning_rate_fraction": 0.1},
            "max_grad_norm": 1.0,
            "spike_factor": None,
            "seed": 3,
            "eval_every_steps": 4,
            "eval_windows": 6,
            "checkpoint_every_steps": 3,
            "keep_checkpoints": 2,
            "final_weights": "last",
        }
        return PretrainParams(**{**values, **changed})

    return make


# While writing tests: the folder of a finished smoke run to look at, instead of making one, which takes minutes.
FINISHED_RUN_VARIABLE = "SMOKE_RUN"


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the whole pipeline has run once on the smoke preset. Nothing may write into it."""
    if FINISHED_RUN_VARIABLE in os.environ:
        return Clone(Path(os.environ[FINISHED_RUN_VARIABLE]))
    temporary = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        temporary = temporary.parent  # of the whole session: one worker makes the run, the others wait for it
    folder, finished = temporary / "smoke", temporary / "smoke-finished"
    with FileLock(temporary / "smoke.lock"):
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)  # half a run, of a worker that failed
            Clone.make(folder).forgeline("repro", timeout=900)
            finished.touch()
    return Clone(folder)
