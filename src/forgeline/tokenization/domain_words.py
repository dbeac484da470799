"""A corpus as words with their counts, divided as a given tokenizer divides text before its model sees it."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, pre_tokenizers

from forgeline.core.records import read_documents

BLANK = "▁"  # stands for a space in the entries of SentencePiece's models
_UNSPACED_SCRIPTS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
# Of letters, of one digit, or of signs, with the blanks before: SentencePiece too keeps these apart when it trains.
_LETTERS_DIGIT_SIGNS = pre_tokenizers.Split(
    Regex(rf"{BLANK}*[\p{{L}}\p{{M}}]+|{BLANK}*\p{{N}}|{BLANK}*[^{BLANK}\s\p{{L}}\p{{M}}\p{{N}}]+|{BLANK}+|\s+"),
    "isolated",
)


class WordDivider:
    """Divides text into the words that new entries may be made of."""

    def __init__(self, core: Tokenizer) -> None:
        """Looks at how `core` writes spaces: models with BLANK see whole lines, so their words are divided here."""
        self._core = core
        self._sees_lines = any(entry.startswith(BLANK) for entry in core.get_vocab())

    def divide(self, text: str) -> list[str]:
        """The words of a text, in the characters that the model sees."""
        normalizer, divider = self._core.normalizer, self._core.pre_tokenizer
        normalized = normalizer.normalize_str(text) if normalizer else text
        parts = [part for part, _ in divider.pre_tokenize_str(normalized)] if divider else [normalized]
        if not self._sees_lines:
            return parts
        return [word for part in parts for word, _ in _LETTERS_DIGIT_SIGNS.pre_tokenize_str(part)]

    def count(self, shards: Sequence[Path]) -> Counter[str]:
        """How often each word occurs in the documents."""
        counts = Counter[str]()
        for shard in shards:
            for text in read_documents(shard)["text"].to_pylist():
                counts.update(self.divide(text))
        return counts

    def listed(self, words: Sequence[str]) -> list[str]:
        """Words of a list as they stand in a text, after a space but in scripts that write none.

        A word that is always divided further cannot become one entry; it is left out.
        """
        texts = [word if unicodedata.name(word[0], "").startswith(_UNSPACED_SCRIPTS) else f" {word}" for word in words]
        return [parts[0] for parts in map(self.divide, texts) if len(parts) == 1]
