"""Whether a chunk is a web address, which stays one word.

The pattern is spaCy's `URL_MATCH` (MIT licence, copyright 2016-2024 ExplosionAI GmbH), made from Diego Perini's (MIT
licence). Here it is parsed by hand: an optional scheme, anything before an at sign, a host's name or a public IPv4
address, an optional port, and an optional path.
"""

from forgeline.text.kernels.classes import DECIMAL, DIGIT, HOST, HOST_INSIDE, LOWER, PATH_START, SCHEME
from forgeline.text.kernels.inner import inner
from forgeline.text.kernels.tables import Classes, Ints

_AT, _COLON, _DOT, _SLASH, _ZERO = 0x40, 0x3A, 0x2E, 0x2F, 0x30
_LONGEST_LABEL = 64
_LONGEST_TOP_LABEL = 63
_LONGEST_PORT = 5
_LARGEST_FIRST, _LARGEST_OCTET, _LARGEST_LAST = 223, 255, 254


@inner
def is_address(points: Ints, classes: Classes, low: int, high: int) -> bool:
    """Whether all characters from `low` to `high` are one address."""
    if _is_host_and_path(points, classes, low, high):
        return True
    host = _after_scheme(points, classes, low, high)
    if host > low and _is_host_and_path(points, classes, host, high):
        return True
    for place in range(low + 1, high):
        if points[place] == _AT and _is_host_and_path(points, classes, place + 1, high):
            return True
    return False


@inner
def _after_scheme(points: Ints, classes: Classes, low: int, high: int) -> int:
    """The position after `scheme://`, or `low` if there is no scheme."""
    place = low
    while place < high and classes[place] & SCHEME:
        place += 1
    if place - low < 2 or place + 2 >= high or points[place] != _COLON:
        return low
    return place + 3 if points[place + 1] == _SLASH and points[place + 2] == _SLASH else low


@inner
def _is_host_and_path(points: Ints, classes: Classes, low: int, high: int) -> bool:
    end = _host_end(points, classes, low, high)
    if end == low:
        end = _ip_end(points, classes, low, high)
        if end == low:
            return False
    if end < high and points[end] == _COLON:
        port = end + 1
        end = port
        while end < high and classes[end] & DECIMAL and end - port < _LONGEST_PORT:
            end += 1
        if end - port < 2:
            return False
    return end == high or classes[end] & PATH_START != 0


@inner
def _host_end(points: Ints, classes: Classes, low: int, high: int) -> int:
    """Where a name of two or more labels ends, the last of them lower-case letters; `low` if there is none."""
    label = low
    num_labels = 0
    lower_only = True
    place = low
    while place < high:
        point = points[place]
        if point == _COLON or classes[place] & PATH_START:
            break
        if point == _DOT:
            if not _is_label(classes, label, place):
                return low
            num_labels += 1
            label = place + 1
            lower_only = True
        else:
            lower_only = lower_only and classes[place] & LOWER != 0
            if not classes[place] & (HOST_INSIDE | LOWER):
                return low
        place += 1
    is_top = lower_only and 2 <= place - label <= _LONGEST_TOP_LABEL
    return place if num_labels > 0 and is_top else low


@inner
def _is_label(classes: Classes, low: int, high: int) -> bool:
    """Whether a part of a host's name begins and ends with a letter or digit; inside hyphens and underscores may be."""
    if not 1 <= high - low <= _LONGEST_LABEL:
        return False
    if not (classes[low] & HOST and classes[high - 1] & HOST):
        return False
    for place in range(low, high):  # noqa: SIM110 - `all` does not compile
        if not classes[place] & HOST_INSIDE:
            return False
    return True


@inner
def _ip_end(points: Ints, classes: Classes, low: int, high: int) -> int:
    """Where a public IPv4 address ends; `low` if there is none."""
    place = low
    first, second = 0, 0
    for number in range(4):
        if number > 0:
            if place >= high or points[place] != _DOT:
                return low
            place += 1
        is_outer = number == 0 or number == 3
        start = place
        value, place = _octet(points, classes, start, high)
        if value < 0 or (is_outer and (value == 0 or points[start] == _ZERO)):
            return low
        if number == 0:
            first = value
        elif number == 1:
            second = value
    return low if value > _LARGEST_LAST or first > _LARGEST_FIRST or _is_private(first, second) else place


@inner
def _octet(points: Ints, classes: Classes, low: int, high: int) -> tuple[int, int]:
    """A number of up to three digits and where it ends; -1 if it is none, above 255, or has three with a leading 0."""
    value, place = 0, low
    while place < high and place - low < 3 and classes[place] & DIGIT:
        value = value * 10 + points[place] - _ZERO
        place += 1
    is_none = place == low or value > _LARGEST_OCTET or (place - low == 3 and points[low] == _ZERO)
    return (-1 if is_none else value), place


@inner
def _is_private(first: int, second: int) -> bool:
    """Whether an address with these first two numbers is one of a local network or of the machine itself."""
    if first == 10 or first == 127:
        return True
    if first == 172:
        return 16 <= second <= 31
    return (first == 169 and second == 254) or (first == 192 and second == 168)
