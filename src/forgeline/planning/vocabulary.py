"""How many entries the tokenizer of params.yaml will have, without making it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TYPICAL_ENTRIES = 50_000  # of an adopted tokenizer that is not on this machine


def num_entries(tokenizer: Mapping[str, Any]) -> int:
    """Entries by section `tokenizer`; of an adopted one those of its origin, as far as that can be read."""
    if "vocab_size" in tokenizer:
        return int(tokenizer["vocab_size"])
    origin = Path(str(tokenizer["origin"]))
    try:
        return _of_gguf(origin) if origin.suffix == ".gguf" else _of_folder(origin)
    except (OSError, ValueError, KeyError, TypeError):  # the stage itself will say what is wrong with it
        return _TYPICAL_ENTRIES


def _of_folder(folder: Path) -> int:
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    entries = set(vocabulary) if isinstance(vocabulary, dict) else {piece for piece, _ in vocabulary}
    return len(entries | {token["content"] for token in content["added_tokens"]})


def _of_gguf(file: Path) -> int:
    from transformers.integrations.gguf.reader import read_gguf_metadata  # here: most plans need none

    metadata, _ = read_gguf_metadata(str(file))
    return int(metadata["tokenizer.ggml.tokens"])  # the list itself is not read, only its length
