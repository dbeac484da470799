"""Which texts need normalising, and the part of it that is simple; `text/normalize.py` says what it is.

A text that needs nothing is read once, at about half a gigabyte a second, and never becomes a Python object.
"""

import numpy as np
import numpy.typing as npt

from forgeline.text.kernels.jit import kernel

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

# What a text may need: bits.
NOTHING = 0
TIDYING = 1  # line ends, ASCII control characters, trailing blanks, blank lines: `tidy` does it
PYTHON = 2  # another normal form, characters beyond ASCII to delete
REPAIR = 4  # mojibake

# How a code point is treated; values below are canonical combining classes (0 for most).
LINE_END = 247  # other than the newline
NEWLINE = 248
BLANK = 249
DELETED = 254
TO_PYTHON = 255
# How likely a pair of characters is mojibake; 0 where it is not.
IF_ANOTHER_FOLLOWS = 1  # if a letter, a digit or anything beyond ASCII comes next
ALWAYS = 2

_NEWLINE_BYTE, _RETURN_BYTE, _SPACE_BYTE = 10, 13, 32


@kernel
def decode(content: Bytes, place: int) -> tuple[int, int]:
    """The code point that begins at a byte of valid UTF-8, and how many bytes it has."""
    lead = _bits(content, place, 0xFF)
    if lead < 0x80:
        return lead, 1
    if lead < 0xE0:
        return (lead & 0x1F) << 6 | _bits(content, place + 1, 0x3F), 2
    middle = _bits(content, place + 1, 0x3F) << 6 | _bits(content, place + 2, 0x3F)
    if lead < 0xF0:
        return (lead & 0x0F) << 12 | middle, 3
    return (lead & 0x07) << 18 | middle << 6 | _bits(content, place + 3, 0x3F), 4


@kernel
def _bits(content: Bytes, place: int, mask: int) -> int:
    return int(np.int64(content[place])) & mask


@kernel
def survey(content: Bytes, starts: Offsets, treatments: Bytes, classes: Bytes, unlikely: Bytes) -> Bytes:
    """What each text may need: the sum of `TIDYING`, `PYTHON` and `REPAIR` that apply.

    Where `REPAIR` is told, the others may be missing.

    Args:
        content: UTF-8 of all texts.
        starts: Where each text begins in it, and where the last ends.
        treatments: For every code point its combining class, `BLANK` or another of the values above.
        classes: For every code point of the basic plane its class among those that mojibake is made of, or 0.
        unlikely: Square, by the classes of two neighbours: 0, `IF_ANOTHER_FOLLOWS` or `ALWAYS`. Row 0 also stands for
            no neighbour, the last column for an ASCII character that is not a letter.
    """
    needs = np.zeros(starts.size - 1, np.uint8)
    for text in range(starts.size - 1):
        needs[text] = _need(content, starts[text], starts[text + 1], treatments, classes, unlikely)
    return needs


@kernel
def _need(content: Bytes, begin: int, end: int, treatments: Bytes, classes: Bytes, unlikely: Bytes) -> int:
    need = NOTHING
    blank, deletes, ascii_only = False, False, True
    newlines = 2  # as after a blank line: no text begins with a newline
    combining, before = 0, 0
    place = begin
    while place < end:
        if before == 0 and _is_plain(content[place]):  # most of most texts
            place = _end_of_plain(content, place, end)
            blank = content[place - 1] == _SPACE_BYTE
            combining, newlines = 0, 0
            continue
        point, length = decode(content, place)
        place += length
        if before != 0 or length > 1:
            goes_on = place < end and (content[place] >= 0x80 or _is_word(content[place]))
            if _is_unlikely(before, point, goes_on, classes, unlikely):
                return need | REPAIR
            before = classes[point] if 1 < length < 4 else 0
            ascii_only &= length == 1
        treatment = treatments[point]
        if treatment < LINE_END:
            if treatment != 0 and treatment < combining:
                need |= PYTHON
            combining = treatment
            newlines, blank = 0, False
        elif treatment >= DELETED:
            need |= TIDYING if treatment == DELETED else PYTHON
            deletes |= treatment == DELETED
        else:
            if treatment == LINE_END or (treatment == NEWLINE and (blank or newlines >= 2)):
                need |= TIDYING
            newlines += treatment != BLANK
            blank = treatment == BLANK
            combining = 0
    if blank or (newlines > 0 and end > begin):
        need |= TIDYING
    brings_together = deletes and not ascii_only  # what composes or is mojibake
    return need | PYTHON if brings_together else need


@kernel
def _is_plain(byte: int) -> bool:
    """Whether it is a visible ASCII character or the space."""
    return _SPACE_BYTE <= byte < 0x7F


@kernel
def _end_of_plain(content: Bytes, place: int, end: int) -> int:
    while place < end and _is_plain(content[place]):
        place += 1
    return place


@kernel
def _is_unlikely(before: int, point: int, goes_on: bool, classes: Bytes, unlikely: Bytes) -> bool:
    if point < 0x80:
        return unlikely[before, unlikely.shape[1] - 1] != 0 and not 65 <= point & 0xDF <= 90
    likelihood = unlikely[before, classes[point] if point < classes.size else 0]
    return likelihood == ALWAYS or (likelihood != 0 and goes_on)


@kernel
def _is_word(byte: int) -> bool:
    return 48 <= byte <= 57 or byte == 95 or 65 <= byte & 0xDF <= 90


@kernel
def tidy(content: Bytes, starts: Offsets, positions: Offsets, treatments: Bytes) -> tuple[Bytes, Offsets]:
    """The texts at `positions`, which need `TIDYING`, tidied: their bytes and where each begins."""
    size = 0
    for position in positions:
        size += starts[position + 1] - starts[position]
    result = np.empty(size, np.uint8)
    result_starts = np.zeros(positions.size + 1, np.int64)
    written = 0
    for k in range(positions.size):
        written = _write_tidied(content, starts[positions[k]], starts[positions[k] + 1], treatments, result, written)
        result_starts[k + 1] = written
    return result[:written], result_starts


@kernel
def _write_tidied(content: Bytes, place: int, end: int, treatments: Bytes, result: Bytes, begin: int) -> int:
    """Writes one text to `result` from `begin` on; returns where it ends."""
    written = begin
    visible = begin  # the end of what is visible on this line: blanks after it are trailing
    newlines = 2
    while place < end:
        point, length = decode(content, place)
        treatment = treatments[point]
        if treatment == LINE_END or treatment == NEWLINE:  # noqa: SIM109 - a tuple would be built for every character
            if point == _RETURN_BYTE and place + 1 < end and content[place + 1] == _NEWLINE_BYTE:
                length = 2
            written = visible
            if newlines < 2:
                result[written] = _NEWLINE_BYTE
                written += 1
                visible = written
            newlines += 1
        elif treatment != DELETED:
            for i in range(length):
                result[written + i] = content[place + i]
            written += length
            if treatment != BLANK:
                visible = written
                newlines = 0
        place += length
    while visible > begin and result[visible - 1] == _NEWLINE_BYTE:
        visible -= 1
    return visible
