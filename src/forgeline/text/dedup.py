"""Finds copies: documents with the same text, then near copies by MinHash. The first of each cluster survives.

Near copies are clustered through any member (union-find closes over pairs), so a copy may be less similar to the
survivor than the threshold asks: it is then similar to another copy. A survivor is below the threshold with every
other survivor that it was compared with.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forgeline.text.kernels.linking import Rows, count_agreements, link_buckets, point_to_roots
from forgeline.text.kernels.minhash import Signatures
from forgeline.text.kernels.shingles import Hashes
from forgeline.text.minhash import MinHashParams
from forgeline.text.signature_store import ID_BYTES, IdStore, KeyStore, RowStore

_NUM_CHECK_NUMBERS = 2  # the half of a content hash that is not its key, as 32-bit numbers


@dataclass(frozen=True)
class Clusters:
    """Which documents are copies of which.

    Attributes:
        firsts: For each document the first one of its cluster: itself if it survives.
        exact: Whether an earlier document has the same text but for case and white space.
        equal_entries: For copies, entries of the signature that equal the survivor's; -1 without signatures.
        num_compared: Pairs of signatures that were compared.
    """

    firsts: Rows
    exact: NDArray[np.bool_]
    equal_entries: NDArray[np.int32]
    num_compared: int


class CopyFinder:
    """Is given ids, signatures and content hashes of all documents, in their order, and finds the clusters.

    Attributes:
        ids: The ids.
    """

    def __init__(
        self, num_documents: int, exact: bool, minhash: MinHashParams, memory_bytes: int, scratch: Path
    ) -> None:
        """Decides where the signatures are kept.

        Args:
            num_documents: How many there will be.
            exact: Whether documents with the same text are looked for.
            minhash: How near copies are looked for, if they are.
            memory_bytes: Beyond it signatures, hashes and keys are kept in files.
            scratch: A folder for these files; it is made when there are any.
        """
        self._num_documents = num_documents
        self._num_added = 0
        self._minhash = minhash
        width = minhash.num_permutations if minhash.enabled else 0
        num_bands = minhash.bands() if minhash.enabled else 0
        num_exact = num_documents if exact else 0
        needed = num_documents * bytes_per_document(exact, minhash)
        folder = None if needed <= memory_bytes else scratch
        if folder is not None:
            folder.mkdir(parents=True)
        self._signatures = RowStore(num_documents, width, memory_bytes, folder and folder / "signatures")
        self._checks = RowStore(num_exact, _NUM_CHECK_NUMBERS, memory_bytes, folder and folder / "checks")
        self._bands = KeyStore(num_bands, num_documents, memory_bytes, folder and folder / "bands")
        self.ids = IdStore(num_documents, memory_bytes, folder and folder / "ids")
        self._hashes = KeyStore(int(exact), num_exact, memory_bytes, folder and folder / "hashes")

    def add(
        self,
        ids: NDArray[np.bytes_],
        hashes: Hashes,
        signatures: Signatures,
        keys: Hashes,
        signed: NDArray[np.bool_],
    ) -> None:
        """Adds the next documents.

        Args:
            ids: Their ids as bytes.
            hashes: Content hashes, shape (N, 2); not looked at unless exact copies are looked for.
            signatures: Shape (N, num_permutations).
            keys: Of their bands, shape (num_bands, number of signed documents).
            signed: Which documents have a signature that says something.
        """
        start = self._num_added
        self._num_added += len(ids)
        self.ids.append(ids)
        self._signatures.append(signatures)
        self._bands.append(keys, start + np.flatnonzero(signed))
        if len(hashes):
            self._checks.append(hashes[:, 1].copy().view(np.uint32).reshape(-1, _NUM_CHECK_NUMBERS))
            self._hashes.append(hashes[:, 0].reshape(1, -1), start + np.arange(len(hashes)))

    def find(self) -> Clusters:
        """The clusters, once all documents were added."""
        firsts = np.arange(self._num_documents)
        self._link(self._hashes, self._checks, _NUM_CHECK_NUMBERS, firsts)
        exact = firsts != np.arange(self._num_documents)
        num_compared = self._link(self._bands, self._signatures, self._minhash.num_equal_needed(), firsts)
        point_to_roots(firsts)
        return Clusters(firsts, exact, self._compare_with_survivors(firsts), num_compared)

    def _link(self, candidates: KeyStore, evidence: RowStore, needed: int, firsts: Rows) -> int:
        num_compared = 0
        for all_keys, all_rows in candidates.sorted_pairs():
            for start, end in _whole_buckets(all_keys, evidence.rows_at_once):
                keys, rows = all_keys[start:end], all_rows[start:end]
                num_compared += link_buckets(keys, rows, evidence.rows(), needed, firsts)
                evidence.release()
        return num_compared

    def _compare_with_survivors(self, firsts: Rows) -> NDArray[np.int32]:
        equal = np.full(self._num_documents, -1, np.int32)
        if self._minhash.enabled:
            copies = np.flatnonzero(firsts != np.arange(self._num_documents))
            at_once = self._signatures.rows_at_once // 2 + 1  # two rows for each pair
            for start in range(0, len(copies), at_once):
                chosen = copies[start : start + at_once]
                equal[chosen] = count_agreements(self._signatures.rows(), chosen, firsts[chosen])
                self._signatures.release()
        return equal


def _whole_buckets(keys: Hashes, at_once: int) -> Iterator[tuple[int, int]]:
    """Cuts sorted keys into pieces of about `at_once`, never between equal ones."""
    start = 0
    while start < len(keys):
        end = min(start + at_once, len(keys))
        end = int(np.searchsorted(keys, keys[end - 1], side="right"))
        yield start, end
        start = end


def bytes_per_document(exact: bool, minhash: MinHashParams) -> int:
    """What ids, signatures, hashes and keys take for each document; `memory_megabytes` is held against it."""
    of_hashes = 8 + 8 + 8 if exact else 0  # key, row, the other half
    of_bands = 4 * minhash.num_permutations + 8 * minhash.bands() + 8 if minhash.enabled else 0
    return ID_BYTES + of_hashes + of_bands
