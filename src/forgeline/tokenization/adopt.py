"""Tokenizers that were made elsewhere."""

import tempfile
from pathlib import Path

from transformers import AutoTokenizer

from forgeline.core.origin import Origin
from forgeline.tokenization.fingerprint import tokenizer_fingerprint


def origin_fingerprint(origin: Origin) -> str:
    """Fingerprint of an origin's tokenizer in the form in which it is saved here, whatever form it has there."""
    tokenizer = AutoTokenizer.from_pretrained(str(origin.folder), **origin.arguments)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return tokenizer_fingerprint(Path(folder))
