"""Reading packed tokens: fixed windows over a memory-mapped shard."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forgeline.core.errors import DataError
from forgeline.core.storage import read_json, sha256_path

MANIFEST = "manifest.json"


class TokenDataset:
    """The windows of one split of a packed corpus.

    Window `i` holds `sequence_length + 1` ids: the model reads all but the last and predicts all but the first. The
    last id of a window is the first of the next, so every token but the stream's first is predicted once an epoch.

    Raises:
        DataError: The shard is missing, truncated or changed since it was packed.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.manifest: dict[str, Any] = read_json(folder / MANIFEST)
        self.facts: dict[str, Any] = self.manifest[split]
        self.sequence_length: int = self.manifest["sequence_length"]
        self.tokenizer: str = self.manifest["tokenizer"]
        self.weights: dict[str, float] = self.manifest["weights"]
        shard = folder / f"{split}.bin"
        if not shard.is_file() or sha256_path(shard) != self.facts["sha256"]:
            raise DataError(f"{shard} is missing, truncated or changed since it was packed: delete it, run `dvc repro`")
        self._tokens = np.memmap(shard, dtype=self.manifest["dtype"], mode="r")
        self._index = folder / f"{split}.idx"

    def __len__(self) -> int:
        return int(self.facts["num_windows"])

    def source_windows(self) -> dict[str, range]:
        """The windows of each source, in the order of the stream: those whose first predicted token is the source's."""
        # By place in the stream, since JSON sorted them by name.
        sources = dict(sorted(self.facts["sources"].items(), key=lambda item: item[1]["first_token"]))
        starts = [-(-(facts["first_token"] - 1) // self.sequence_length) for facts in sources.values()]
        edges = [min(start, len(self)) for start in [*starts, len(self)]]
        return {name: range(edges[number], edges[number + 1]) for number, name in enumerate(sources)}

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of text per token, which turns nats per token into bits per byte."""
        return float(self.facts["num_bytes"] / self.facts["num_tokens"])

    def window(self, index: int) -> npt.NDArray[np.int64]:
        """The `sequence_length + 1` ids of a window."""
        start = index * self.sequence_length
        return self._tokens[start : start + self.sequence_length + 1].astype(np.int64)

    def windows(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Several windows as one array of shape (len(indices), sequence_length + 1)."""
        return np.stack([self.window(int(index)) for index in indices])

    def positions(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How far each input of these windows is behind the start of its document, or of the window if that is later.

        A document starts with the end-of-document token before it: from that token its first one is predicted.

        Args:
            indices: Window numbers.

        Returns:
            Of shape (len(indices), sequence_length).
        """
        first = indices[:, None] * self.sequence_length
        places = first + np.arange(self.sequence_length)
        starts = self.document_starts
        document = starts[np.searchsorted(starts, places, side="right") - 1]
        return places - np.maximum(document, first)

    @cached_property
    def document_starts(self) -> npt.NDArray[np.int64]:
        """Where in the stream each document's leading end-of-document token stands; the last entry starts none.

        Raises:
            DataError: The index is missing or does not belong to the shard.
        """
        expected = self.facts["num_documents"] + 1
        ends = np.fromfile(self._index, dtype=np.int64) if self._index.is_file() else np.empty(0, dtype=np.int64)
        if len(ends) != expected or ends[-1] != self.facts["num_tokens"]:
            raise DataError(
                f"{self._index} is missing, or does not hold the ends of {expected - 1} documents: delete it, "
                "run `dvc repro`"
            )
        return ends - 1

    def tokens(self) -> npt.NDArray[np.int64]:
        """The whole stream."""
        return self._tokens.astype(np.int64)
