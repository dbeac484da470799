"""How much of a source is taken."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class Budget:
    """Takes documents in their order until one does not fit; that one and all later ones are left out.

    Attributes:
        max_documents: Most documents; None for any number.
        max_bytes: Most UTF-8 bytes of all texts together; None for any number.
        num_documents: Taken so far.
        num_bytes: Of the documents taken so far.
        is_spent: Whether some document did not fit.
    """

    max_documents: int | None
    max_bytes: int | None
    num_documents: int = 0
    num_bytes: int = 0
    is_spent: bool = False

    def take(self, texts: Sequence[str]) -> int:
        """How many of these next documents are taken."""
        if self.max_documents is None and self.max_bytes is None:
            return len(texts)
        for place, text in enumerate(texts):
            size = len(text.encode())
            if self.is_spent or not self._fits(size):
                self.is_spent = True
                return place
            self.num_documents += 1
            self.num_bytes += size
        return len(texts)

    def _fits(self, size: int) -> bool:
        if self.max_documents is not None and self.num_documents >= self.max_documents:
            return False
        return self.max_bytes is None or self.num_bytes + size <= self.max_bytes
