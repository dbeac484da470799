"""Brings text into one form without changing what it says: paragraphs, indentation and typography survive.

In this order, until nothing changes any more:
1. Mojibake is repaired (`unicode_repair`; `text/repair.py`).
2. Fenced code blocks (`strip_code`) and web addresses (`strip_urls`) are taken out, if wanted.
3. Terminal escape sequences go; every kind of line end becomes a newline.
4. Characters without content go: controls but the tab, byte order marks, soft hyphens, word joiners, interlinear and
   object placeholders, and zero-width spaces, except beside a letter of Thai, Lao, Tibetan, Burmese or Khmer, which
   part words with them. Joiners and direction marks stay: Persian, Indic scripts and emoji need them.
5. Unicode normal form C.
6. Blanks at line ends go, runs of blank lines become one, and blank lines at either end go. Tabs and all other blanks,
   no-break spaces among them, stay.

`normalize` says so in plain Python and is what a text goes through that needs more than ASCII rules;
`normalize_texts` finds out with a kernel which texts those are, and does the rest without Python.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forgeline.text.buffers import as_buffers, from_buffers, replaced
from forgeline.text.kernels.normalize import (
    BLANK,
    DELETED,
    LINE_END,
    NEWLINE,
    PYTHON,
    REPAIR,
    TIDYING,
    TO_PYTHON,
    survey,
    tidy,
)
from forgeline.text.kernels.splice import splice
from forgeline.text.repair import mojibake_classes, repair, unlikely_pairs

_TERMINAL_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_WITHOUT_CONTENT = "\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u2060\ufeff\ufff9-\ufffc"
_PARTED_BY_ZERO_WIDTH_SPACES = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"
_INVISIBLE = re.compile(
    f"[{_WITHOUT_CONTENT}]|(?<![{_PARTED_BY_ZERO_WIDTH_SPACES}])\u200b(?![{_PARTED_BY_ZERO_WIDTH_SPACES}])"
)
_BLANK_RUN = re.compile(r"\n{3,}")

_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
# Letters end with Cyrillic: in Chinese or Japanese the next sentence may follow an address without a blank.
_IN_URL = r"A-Za-z0-9\u00c0-\u052f\-_~/#@$&*+=%|"
_URL = re.compile(
    r"\[([^\[\]\n]*)\]\((?:https?|ftp)://[^\s()]*\)"  # Markdown: the words of the link stay
    r"|[ \t]?<?(?<![A-Za-z0-9])(?:(?:https?|ftp)://|www\.(?=[A-Za-z0-9]))"
    rf"(?:[{_IN_URL}.,;:!?'\[\]]|\([{_IN_URL}.,;:!?']*\))*"
    rf"(?:[{_IN_URL}]|\([{_IN_URL}.,;:!?']*\))>?"  # a full stop or bracket at the end belongs to the sentence
)


@dataclass(frozen=True)
class NormalForm:
    """Which parts of normalising are wanted; see `CleanParams`, which has them as parameters."""

    unicode_repair: bool
    strip_urls: bool
    strip_code: bool


@dataclass(frozen=True)
class Normalized:
    """Normalised texts in the order they came, and in how many of them mojibake was repaired."""

    texts: pa.Array
    num_repaired: int


def normalize(text: str, form: NormalForm) -> str:
    """The text in normal form; applying it twice changes nothing more."""
    repaired = repair if form.unicode_repair else _unchanged
    while True:  # taking something out can bring together what has to go too
        result = _tidied(_stripped(repaired(text), form))
        if result == text:
            return text
        text = result


def _unchanged(text: str) -> str:
    return text


def _stripped(text: str, form: NormalForm) -> str:
    if form.strip_code:
        text = _without_fenced_code(text)
    if form.strip_urls:
        text = _URL.sub(r"\1", text)
    return text


def _without_fenced_code(text: str) -> str:
    """The text without Markdown's fenced code blocks; one that is never closed stays, with all that follows."""
    kept: list[str] = []
    block: list[str] = []
    closing: re.Pattern[str] | None = None
    for line in text.split("\n"):
        if closing is None:
            fence = _FENCE.match(line)
            if fence is None:
                kept.append(line)
                continue
            closing = re.compile(rf" {{0,3}}{fence[1]}{fence[1][0]}*[ \t\r]*$")
            block = [line]
        elif closing.match(line):
            closing, block = None, []
        else:
            block.append(line)
    return "\n".join(kept + block)


def _tidied(text: str) -> str:
    text = _LINE_END.sub("\n", _TERMINAL_ESCAPE.sub("", text))
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return _BLANK_RUN.sub("\n\n", text).strip("\n")


def normalize_texts(texts: pa.Array, form: NormalForm) -> Normalized:
    """`normalize` for every text of an array without nulls, and how many were repaired."""
    repaired: set[int] = set()
    unsettled = np.arange(len(texts))
    while unsettled.size:
        some = texts if unsettled.size == len(texts) else texts.take(unsettled)
        needs = _survey(some, form)
        changes = dict[int, str]()
        for place in np.flatnonzero(needs >= PYTHON).tolist():
            text = some[place].as_py()
            decoded = repair(text) if needs[place] & REPAIR else text
            if decoded != text:
                repaired.add(int(unsettled[place]))
            result = _tidied(_stripped(decoded, form))
            if result != text:
                changes[int(unsettled[place])] = result
        texts = replaced(_tidied_by_kernel(texts, unsettled[needs == TIDYING]), changes)
        unsettled = np.fromiter(changes, np.int64, len(changes))
    return Normalized(texts, len(repaired))


def _survey(texts: pa.Array, form: NormalForm) -> npt.NDArray[np.uint8]:
    content, starts = as_buffers(texts)
    pairs = unlikely_pairs() if form.unicode_repair else _no_pairs()
    needs: npt.NDArray[np.uint8] = survey(content, starts, _treatments(), mojibake_classes(), pairs)
    needs[_to_strip(texts, form)] |= PYTHON
    return needs


def _tidied_by_kernel(texts: pa.Array, positions: npt.NDArray[np.int64]) -> pa.Array:
    if positions.size == 0:
        return texts
    content, starts = as_buffers(texts)
    return from_buffers(*splice(content, starts, positions, *tidy(content, starts, positions, _treatments())))


def _to_strip(texts: pa.Array, form: NormalForm) -> npt.NDArray[np.bool_]:
    """Which texts may hold something that has to be taken out."""
    found = np.zeros(len(texts), np.bool_)
    marks = ["://", "www."] if form.strip_urls else []
    for mark in marks + (["```", "~~~"] if form.strip_code else []):
        found |= pc.match_substring(texts, mark).to_numpy(zero_copy_only=False)
    return found


@cache
def _no_pairs() -> npt.NDArray[np.uint8]:
    pairs = np.zeros_like(unlikely_pairs())
    pairs.flags.writeable = False  # as those of `unlikely_pairs`: kernels are compiled for arrays that are or are not
    return pairs


@cache
def _treatments() -> npt.NDArray[np.uint8]:
    """What `survey` has to know about every code point; see there.

    Sent to Python are characters that `_tidied` may delete or take for a line end, and those that normal form C does
    not hold, or only in some places (Unicode Standard Annex 15, quick check No or Maybe).
    """
    treatments = np.zeros(0x110000, np.uint8)
    treatments[:0x20] = treatments[0x7F] = DELETED
    treatments[[ord(end) for end in "\r\v\f"]] = LINE_END
    treatments[ord("\n")] = NEWLINE
    treatments[[ord("\t"), ord(" ")]] = BLANK
    treatments[ord("\x1b")] = TO_PYTHON  # begins a terminal's escape sequence
    characters = "".join(map(chr, range(0x32000)))  # beyond: no blanks, no combining classes, no compositions
    blank = np.fromiter(map(str.isspace, characters), np.bool_, len(characters))
    own = np.fromiter(map(unicodedata.combining, characters), np.uint8, len(characters))
    own[blank] = BLANK
    treatments[0x80 : len(characters)] = own[0x80:]
    for point, decomposition in enumerate(map(unicodedata.decomposition, characters)):
        if not decomposition or decomposition.startswith("<"):
            continue
        if unicodedata.normalize("NFC", chr(point)) != chr(point):
            treatments[point] = TO_PYTHON
        elif decomposition.count(" ") == 1:
            treatments[int(decomposition.split()[1], 16)] = TO_PYTHON
    treatments[0x1161:0x1176] = treatments[0x11A8:0x11C3] = TO_PYTHON  # Hangul vowels and final consonants compose
    special = re.compile(f"{_INVISIBLE.pattern}|{_LINE_END.pattern}")
    treatments[[found.start() for found in special.finditer(characters, 0x80, 0x10000)]] = TO_PYTHON
    treatments.flags.writeable = False
    return treatments
