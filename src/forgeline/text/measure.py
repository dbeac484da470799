"""How much text a table holds."""

import pyarrow as pa
import pyarrow.compute as pc


def text_figures(documents: pa.Table) -> dict[str, int]:
    """Number of documents, of Unicode characters, and of UTF-8 bytes of their texts."""
    texts = documents["text"]
    return {
        "num_documents": documents.num_rows,
        "num_characters": pc.sum(pc.utf8_length(texts)).as_py() or 0,
        "num_bytes": pc.sum(pc.binary_length(texts)).as_py() or 0,
    }
