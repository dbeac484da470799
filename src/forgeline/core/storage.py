"""Files whose bytes depend on their content alone: JSON, JSON lines, CSV, Parquet, and hashes of files and folders."""

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from forgeline.core.errors import DataError

ROWS_PER_GROUP = 16_384


def write_json(path: Path, value: Any) -> None:
    """Writes `value` with sorted keys. NaN is refused: it is not JSON and DVC could not read the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: The file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: run `dvc repro` to make it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid JSON ({error}): delete it and run `dvc repro`") from None


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line, keys sorted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The objects of a file that `write_jsonl` wrote."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows with the same keys, the first row's order, as CSV with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_table(path: Path, table: pa.Table) -> None:
    """Parquet whose bytes depend on the rows and the pyarrow version alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd", row_group_size=ROWS_PER_GROUP, store_schema=False)


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    """A Parquet table with exactly the columns of `schema`.

    Raises:
        DataError: The file is missing, is not Parquet, or has other columns or types.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: run `dvc repro` to make it") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file ({error}): delete it and run `dvc repro`") from None
    if table.schema.names != schema.names:
        raise DataError(f"{path} has the columns {table.schema.names}, expected {schema.names}: run `dvc repro`")
    try:
        return table.cast(schema)
    except pa.ArrowException as error:
        raise DataError(f"{path} has columns of other types than expected ({error}): run `dvc repro`") from None


def sha256_text(text: str) -> str:
    """Hex SHA-256 of the UTF-8 bytes of `text`."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def sha256_path(path: Path, hash_files: Callable[[Sequence[Path]], Iterable[str]] | None = None) -> str:
    """Hex SHA-256 of a file's bytes, or of a folder's relative names and contents (compiled Python left out).

    Args:
        path: The file or folder.
        hash_files: Gives the SHA-256 of each of many files, in their order; by default one after another here.

    Raises:
        DataError: Nothing is at `path`.
    """
    if not path.is_dir():
        return _sha256_file(path)
    files = sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    digest = hashlib.sha256()
    for file, hashed in zip(files, hash_files(files) if hash_files else map(_sha256_file, files), strict=True):
        digest.update(f"{file.relative_to(path).as_posix()}\0{hashed}\n".encode())
    return digest.hexdigest()


def _sha256_file(path: Path) -> str:
    try:
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: run `dvc repro` to make it") from None
