"""Reading packed tokens: fixed windows over a memory-mapped shard."""

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

    def tokens(self) -> npt.NDArray[np.int64]:
        """The whole stream."""
        return self._tokens.astype(np.int64)
