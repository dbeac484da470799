"""What an adopted or extended tokenizer added to its origin's, in a file beside it, for the embeddings of new ids."""

from dataclasses import asdict, dataclass
from pathlib import Path

from forgeline.core.errors import DataError
from forgeline.core.storage import read_json, write_json

EXTENSION_FILE = "extension.json"


@dataclass(frozen=True)
class Extension:
    """Entries that follow the origin's own.

    Attributes:
        origin: Fingerprint of the origin's tokenizer.
        base_vocab_size: Entries of that tokenizer, and the first new id.
        pieces: For each new id the origin's ids of the same text. The mean of their embeddings is where its own starts.
    """

    origin: str
    base_vocab_size: int
    pieces: list[list[int]]


def write_extension(folder: Path, extension: Extension) -> None:
    """Writes extension.json."""
    write_json(folder / EXTENSION_FILE, asdict(extension))


def read_extension(folder: Path) -> Extension | None:
    """What `folder`/extension.json says, or None where there is none: the tokenizer has no origin.

    Raises:
        DataError: The file is damaged.
    """
    file = folder / EXTENSION_FILE
    if not file.is_file():
        return None
    content = read_json(file)
    try:
        found = Extension(str(content["origin"]), int(content["base_vocab_size"]), list(content["pieces"]))
        if all(found.pieces) and all(0 <= old < found.base_vocab_size for piece in found.pieces for old in piece):
            return found
    except (KeyError, TypeError, ValueError):
        pass
    raise DataError(f"{file} does not describe an extension: run `dvc repro` to make the tokenizer again")


def added_ids(folder: Path) -> range:
    """The ids that extending the tokenizer in `folder` has added; empty where there is no origin.

    Raises:
        DataError: extension.json is damaged.
    """
    extension = read_extension(folder)
    if extension is None:
        return range(0)
    return range(extension.base_vocab_size, extension.base_vocab_size + len(extension.pieces))
