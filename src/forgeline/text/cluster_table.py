"""The side table of copies: which documents form a cluster, how they were found, how alike they are."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from forgeline.core.shards import ShardWriter
from forgeline.text.dedup import Clusters
from forgeline.text.kernels.linking import Rows
from forgeline.text.signature_store import IdStore

# One row for each member of a cluster of two or more, cluster by cluster, the survivor first.
CLUSTERS = pa.schema(
    [
        ("cluster_id", pa.string()),  # doc_id of the survivor
        ("doc_id", pa.string()),
        ("source", pa.string()),
        ("kind", pa.string()),  # survivor, exact or near
        ("similarity", pa.float64()),  # estimated, to the survivor; null where nothing was signed
    ]
)
_ROWS_AT_ONCE = 65_536
_SHARD_BYTES = 32_000_000  # of document ids: a million rows


def write_clusters(
    folder: Path,
    clusters: Clusters,
    num_permutations: int,
    ids: IdStore,
    sources_of: Callable[[Rows], Sequence[str]],
) -> None:
    """Writes the table as a folder of shards.

    Args:
        folder: Where it goes.
        clusters: Which documents are copies of which.
        num_permutations: Entries of a signature.
        ids: Of all documents.
        sources_of: The names of the sources of some documents, given their positions.
    """
    members = _members(clusters.firsts)
    with ShardWriter(folder, CLUSTERS, _SHARD_BYTES, measure="doc_id") as writer:
        for start in range(0, len(members), _ROWS_AT_ONCE):
            rows = members[start : start + _ROWS_AT_ONCE]
            firsts, equal = clusters.firsts[rows], clusters.equal_entries[rows]
            is_survivor = firsts == rows
            kinds = np.where(is_survivor, "survivor", np.where(clusters.exact[rows], "exact", "near"))
            similarity = np.where(is_survivor, 1.0, equal / num_permutations)
            columns: list[Any] = [_text(ids.get(firsts)), _text(ids.get(rows)), sources_of(rows), kinds.tolist()]
            columns.append(pa.array(similarity, mask=(equal < 0) & ~is_survivor))
            writer.write(pa.table(columns, schema=CLUSTERS))


def _members(firsts: Rows) -> Rows:
    """Positions of all documents in clusters of two or more, cluster by cluster in the order of the survivors."""
    copies = np.flatnonzero(firsts != np.arange(len(firsts)))
    members = np.concatenate([np.unique(firsts[copies]), copies])
    return members[np.lexsort((members, firsts[members]))]


def _text(ids: NDArray[np.bytes_]) -> pa.Array:
    return pa.array(ids.tolist(), pa.binary()).cast(pa.string())


def cluster_figures(firsts: Rows) -> dict[str, Any]:
    """How many clusters of two or more there are, the size of the largest, and a histogram of sizes.

    A bin of the histogram holds sizes above half its largest one: 2, 3 to 4, 5 to 8, and so on.
    """
    copies = firsts[firsts != np.arange(len(firsts))]
    sizes = np.unique(copies, return_counts=True)[1] + 1
    bins, counts = np.unique(np.ceil(np.log2(sizes)).astype(np.int64), return_counts=True)
    return {
        "num_clusters": len(sizes),
        "num_copies": len(copies),
        "largest": int(np.max(sizes, initial=0)),
        "sizes": [
            {"smallest": (1 << (int(place) - 1)) + 1, "largest": 1 << int(place), "num_clusters": int(count)}
            for place, count in zip(bins, counts, strict=True)
        ],
    }
