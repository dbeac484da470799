"""Which tokenizer an artefact belongs to: the SHA-256 of the tokenizer's own file."""

from pathlib import Path

from forgeline.core.errors import DataError, FingerprintError
from forgeline.core.storage import sha256_path

TOKENIZER_FILE = "tokenizer.json"


def tokenizer_fingerprint(folder: Path) -> str:
    """Hex SHA-256 of `folder`/tokenizer.json: vocabulary, merges, special tokens and normalization, nothing else.

    Raises:
        DataError: The folder holds no tokenizer.
    """
    file = folder / TOKENIZER_FILE
    if not file.is_file():
        raise DataError(f"{folder} holds no {TOKENIZER_FILE}: run `dvc repro`, or copy the model's tokenizer there")
    return sha256_path(file)


def require_same_tokenizer(a: Path, b: Path) -> str:
    """The fingerprint that two folders (models, tokenizers, packed data with a copy) share.

    Raises:
        FingerprintError: They differ; the message names both.
    """
    first, second = tokenizer_fingerprint(a), tokenizer_fingerprint(b)
    require_fingerprint(first, str(a), second, str(b))
    return first


def require_fingerprint(first: str, first_name: str, second: str, second_name: str) -> None:
    """Refuses two different tokenizer fingerprints.

    Raises:
        FingerprintError: They differ; the message names both.
    """
    if first != second:
        raise FingerprintError(
            f"tokenizers differ: {first_name} has {first[:16]}, {second_name} has {second[:16]}: "
            "token ids of one mean nothing to the other; run `dvc repro` to rebuild both from one tokenizer"
        )
