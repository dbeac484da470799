"""Parquet tables, of which only the columns that are needed are read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from forgeline.core.errors import DataError
from forgeline.sources.formats.limits import Reading, source_too_large
from forgeline.sources.formats.records import Records, Where, each
from forgeline.sources.formats.unicode import REPLACEMENT

_BATCH_BYTES = 1 << 20
_MAX_BATCH_ROWS = 4096


def parquet_rows(path: Path, reading: Reading, fields: Sequence[str]) -> Iterator[Records[Any]]:
    """The rows of a table as objects with the given fields, or those columns that contain them.

    Raises:
        DataError: The file is missing, damaged or no Parquet, larger than the source may be, has none of the columns of
            a field, or (with `strict`) holds text that is not UTF-8.
    """
    with _opened(path) as file:
        columns = _columns(file, path, fields)
        batch_rows = _batch_rows(file.metadata, path, reading, columns)
        num_rows = 0
        for batch in file.iter_batches(batch_rows, columns=columns, use_threads=False):
            reading.count(batch.nbytes, path)
            yield from _rows(batch, path, num_rows, reading)
            num_rows += batch.num_rows


def columns_of(path: Path) -> list[str]:
    """The names of a table's columns; raises `DataError` as `parquet_rows` does."""
    with _opened(path) as file:
        return list(file.schema_arrow.names)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, buffer_size=_BATCH_BYTES, pre_buffer=False) as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: correct its path in params.yaml or put the file there") from None
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is not a readable Parquet file ({reason}): fetch or write it again") from None


def _columns(file: pq.ParquetFile, path: Path, fields: Sequence[str]) -> list[str]:
    """The leaves to read: a field's own, or all that lie inside it."""
    leaves = [file.metadata.schema.column(index).path for index in range(file.metadata.num_columns)]
    chosen = []
    for field in fields:
        found = [leaf for leaf in leaves if leaf == field or leaf.startswith(f"{field}.")]
        if not found:
            known = ", ".join(file.schema_arrow.names) or "none"
            raise DataError(
                f"{path}: no column '{field}' (its columns: {known}): correct `text` of the source in params.yaml"
            )
        chosen += found
    return chosen


def _batch_rows(metadata: Any, path: Path, reading: Reading, columns: Sequence[str]) -> int:
    """How many rows are worth reading at once, by the sizes in the footer."""
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    chunks = (group.column(index) for group in groups for index in range(group.num_columns))
    size: int = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in columns)
    if reading.num_bytes + size > reading.max_source_bytes:
        raise source_too_large(path, reading.max_source_bytes)
    rows: int = _BATCH_BYTES * metadata.num_rows // max(size, 1)
    return max(1, min(_MAX_BATCH_ROWS, rows))


def _rows(batch: pa.RecordBatch, path: Path, num_before: int, reading: Reading) -> Iterator[Records[Any]]:
    def where(index: int) -> str:
        return f"{path}, row {num_before + index + 1}"

    try:
        rows = batch.to_pylist()
    except UnicodeDecodeError:
        structs = batch.to_struct_array()
        yield from each(Records(list(structs), where), lambda row, place: _repaired(row, reading, place))
    else:
        yield Records(rows, where)


def _repaired(value: Any, reading: Reading, where: Where) -> Any:
    """A scalar as a Python object; texts may hold bytes that are not UTF-8."""
    if isinstance(value, pa.StructScalar) and value.is_valid:
        return {name: _repaired(value[name], reading, where) for name in value}
    try:
        return value.as_py()
    except UnicodeDecodeError:
        if reading.encoding == "strict":
            raise DataError(f"{where()}: not UTF-8: correct it{reading.repair_advice}") from None
    data = value.as_buffer().to_pybytes()
    text = data.decode("utf-8", errors="replace")
    reading.repairs.num_replaced += text.count(REPLACEMENT) - data.count(REPLACEMENT.encode())
    return text
