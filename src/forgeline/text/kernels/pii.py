"""Which texts may hold an address or number of a person: read once as bytes, so that patterns run on few texts."""

import numpy as np
import numpy.typing as npt

from forgeline.text.kernels.jit import kernel

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

# What a text may hold: bits.
EMAIL = 1
IP_V4 = 2
IP_V6 = 4
PHONE = 8  # that can be told by its form
ANNOUNCED_PHONE = 16  # after a word for telephone
CARD = 32

# What personal numbers have at least. `text/pii.py` is stricter.
_DOTS_OF_IP_V4 = 3
_COLONS_OF_IP_V6 = 7  # if two do not stand together
_DIGITS_AFTER_PLUS = 8
_DIGITS_AFTER_ZERO = 9
_DIGITS_OF_OTHER_PHONE = 10
_DIGITS_OF_ANNOUNCED = 7
_DIGITS_OF_CARD = 13
_LONGEST_OCTET = 3
_LONGEST_GROUP = 4
_SEPARATOR_BYTES = 6  # between two digits of a number; a separator beyond ASCII has up to three
_FARTHEST_WORD = 24  # bytes before a number in which a word for telephone announces it

_FAR = 100  # farther than anything that belongs together

_PLUS, _ZERO = 43, 48
# Three letters each
_TEL, _HON, _FON, _FAX = 0x74656C, 0x686F6E, 0x666F6E, 0x666178
_TTY, _MOB, _CEL = 0x747479, 0x6D6F62, 0x63656C
_DOT, _COLON, _AT = 46, 58, 64


@kernel
def find_candidates(content: Bytes, starts: Offsets) -> Bytes:
    """What each text may hold: the sum of the bits above.

    Args:
        content: UTF-8 of all texts.
        starts: Where each text begins in it, and where the last ends.
    """
    found = np.zeros(starts.size - 1, np.uint8)
    for text in range(starts.size - 1):
        found[text] = _candidates(content, starts[text], starts[text + 1])
    return found


@kernel
def _candidates(content: Bytes, begin: int, end: int) -> int:
    candidates = 0
    number, digits, last_digit = begin, 0, begin - _FAR  # a number with separators: where it begins, and so on
    dots, last_dot = 0, begin - _FAR  # as close to each other as in an address
    colons, last_colon = 0, begin - _FAR
    for place in range(begin, end):
        byte = content[place]
        if byte < _DOT or byte > _AT:
            continue
        if 48 <= byte <= 57:
            digits = digits + 1 if _is_same_number(content, last_digit, place) else 1
            number = place if digits == 1 else number
            last_digit = place
            if digits >= _DIGITS_OF_ANNOUNCED:
                candidates |= _kinds_of_number(content, begin, number, place, digits)
        elif byte == _DOT:
            dots = dots + 1 if place - last_dot <= _LONGEST_OCTET + 1 else 1
            last_dot = place
            candidates |= IP_V4 if dots >= _DOTS_OF_IP_V4 and last_digit == place - 1 else 0
        elif byte == _COLON:
            colons = colons + 1 if place - last_colon <= _LONGEST_GROUP + 1 else 1
            candidates |= IP_V6 if colons >= _COLONS_OF_IP_V6 or last_colon == place - 1 else 0
            last_colon = place
        elif byte == _AT and begin < place < end - 1 and _is_name(content[place - 1]) and _is_name(content[place + 1]):
            candidates |= EMAIL
    return candidates


@kernel
def _is_same_number(content: Bytes, last_digit: int, place: int) -> bool:
    """Whether only a few separators lie between two digits."""
    if place - last_digit - 1 > _SEPARATOR_BYTES:
        return False
    for between in range(last_digit + 1, place):  # noqa: SIM110 - `all` with a generator does not compile
        if not _separates(content[between]):
            return False
    return True


@kernel
def _kinds_of_number(content: Bytes, begin: int, number: int, place: int, digits: int) -> int:
    """What a number may be that begins at `number` and has so many digits up to `place`."""
    kinds = CARD if digits >= _DIGITS_OF_CARD else 0
    if digits == _DIGITS_OF_ANNOUNCED and _is_announced(content, max(begin, number - _FARTHEST_WORD), place):
        kinds |= ANNOUNCED_PHONE
    fewest = _DIGITS_AFTER_ZERO if content[number] == _ZERO else _DIGITS_OF_OTHER_PHONE
    if number > begin and content[number - 1] == _PLUS:
        fewest = _DIGITS_AFTER_PLUS
    return kinds | PHONE if digits >= fewest else kinds


@kernel
def _is_announced(content: Bytes, begin: int, end: int) -> bool:
    """Whether there are letters of a word for telephone: `tel`, `hon`, `fon`, `fax`, `tty`, `mob`, `cel`, not ASCII."""
    for place in range(begin, end):
        if content[place] >= 0x80:
            return True
        if place + 2 < end:
            first, second, third = content[place] | 32, content[place + 1] | 32, content[place + 2] | 32
            if first << 16 | second << 8 | third in (
                0x74656C,
                0x686F6E,
                0x666F6E,
                0x666178,
                0x747479,
                0x6D6F62,
                0x63656C,
            ):
                return True
    return False


@kernel
def _is_name(byte: int) -> bool:
    """Whether it may stand beside the sign in an address: a letter, a digit, `% + - . _`, anything beyond ASCII."""
    return byte >= 0x80 or 48 <= byte <= 57 or 97 <= byte | 32 <= 122 or byte in (37, 43, 45, 46, 95)


@kernel
def _separates(byte: int) -> bool:
    """Whether it may stand inside a number: a blank, `( ) - . /`, anything beyond ASCII."""
    return byte == 32 or byte >= 0x80 or byte in (40, 41, 45, 46, 47)
