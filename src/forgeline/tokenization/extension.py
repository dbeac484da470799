"""What extending an adopted vocabulary added: the model's embeddings have to follow."""

from dataclasses import dataclass
from pathlib import Path

from forgeline.core.errors import DataError
from forgeline.core.storage import read_json

EXTENSION_FILE = "extension.json"


@dataclass(frozen=True)
class Extension:
    """New ids behind those of an origin's tokenizer.

    Attributes:
        origin: Fingerprint of the origin's own tokenizer.
        base_vocab_size: Its number of ids, and so the first new id.
        pieces: For new id `base_vocab_size + i`, the ids that the origin's tokenizer writes the same text with.
    """

    origin: str
    base_vocab_size: int
    pieces: list[list[int]]


def read_extension(folder: Path) -> Extension | None:
    """What stands in a tokenizer folder, or None if its tokenizer was not made from another one.

    Raises:
        DataError: The file is damaged.
    """
    file = folder / EXTENSION_FILE
    if not file.is_file():
        return None
    values = read_json(file)
    try:
        return Extension(values["origin"], values["base_vocab_size"], values["pieces"])
    except (KeyError, TypeError):
        raise DataError(f"{file} is damaged: delete the folder and run `dvc repro`") from None
