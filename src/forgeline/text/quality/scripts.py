"""Which texts are written in scripts that rules made for an alphabet with blanks between words do not fit."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forgeline.text.kernels.characters import WITHOUT_BLANKS

_NUM_CHARACTERS = 128  # from the beginning: more cost time and hardly change the answer
# Of all characters, blanks, punctuation and digits among them, so that what is left is the larger part of the letters.
_LEAST_SHARE = 1 / 3

_WITHOUT_BLANKS: Final = "[" + "".join(rf"\x{{{first:x}}}-\x{{{last:x}}}" for first, last in WITHOUT_BLANKS) + "]"
_DENSE: Final = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]"


def without_blanks(texts: pa.Array) -> npt.NDArray[np.bool_]:
    """Which texts are in a script that puts no blanks between words: Chinese, Japanese, Thai, Lao, Burmese, Khmer."""
    return _mostly(_WITHOUT_BLANKS, texts)


def dense(texts: pa.Array) -> npt.NDArray[np.bool_]:
    """Which texts are in a script of which a character stands for a syllable or a word: Chinese, Japanese, Korean."""
    return _mostly(_DENSE, texts)


def _mostly(characters: str, texts: pa.Array) -> npt.NDArray[np.bool_]:
    beginnings = pc.utf8_slice_codeunits(texts, 0, _NUM_CHARACTERS)
    found = pc.count_substring_regex(beginnings, characters).to_numpy(zero_copy_only=False)
    lengths = pc.utf8_length(beginnings).to_numpy(zero_copy_only=False)
    result: npt.NDArray[np.bool_] = (found > 0) & (found >= _LEAST_SHARE * lengths)
    return result
