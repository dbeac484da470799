"""Masks e-mail addresses, IP addresses, phone numbers and card numbers, and counts them.

Patterns, so something is missed and something harmless is hit: what counts as a number of a person is said at each
pattern, and what does not (dates, ISBNs, versions, numbers in tables) in the tests. Names and postal addresses are not
looked for.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from operator import or_
from typing import Annotated

import numpy as np
import pyarrow as pa
from pydantic import Field

from forgeline.core.params import Section
from forgeline.text.buffers import as_buffers, replaced
from forgeline.text.kernels.pii import ANNOUNCED_PHONE, CARD, EMAIL, IP_V4, IP_V6, PHONE, find_candidates

# Digits, at signs and colons could be found again, and masking would never end.
Replacement = Annotated[str, Field(pattern=r"^[^0-9@:\n]*$")]


class MaskParams(Section):
    """Section `clean.pii.<kind>`: whether a kind is masked, and what is put in its place (no digit, `@` or `:`)."""

    enabled: bool
    replacement: Replacement


class IpAddressParams(MaskParams):
    """Section `clean.pii.ip_address`.

    Attributes:
        private_ranges: Mask addresses of private networks too (10.0.0.0/8, 192.168.0.0/16, fc00::/7 and others); they
            say nothing about a person outside of that network. Loopback addresses always stay.
    """

    private_ranges: bool


class PiiParams(Section):
    """Section `clean.pii`: personal data that can be told by their form."""

    email: MaskParams
    ip_address: IpAddressParams
    phone_number: MaskParams
    card_number: MaskParams


@dataclass(frozen=True)
class Masked:
    """Texts in the order they came, and how many places of each kind were masked in all of them."""

    texts: pa.Array
    counts: dict[str, int]


def mask_texts(texts: pa.Array, params: PiiParams) -> Masked:
    """`mask` for every text of an array without nulls."""
    masks = _masks(params)
    counts = Counter({mask.kind: 0 for mask in masks})
    if not masks:
        return Masked(texts, {})
    candidates = find_candidates(*as_buffers(texts))
    changes: dict[int, str] = {}
    for place in np.flatnonzero(candidates & reduce(or_, (mask.candidates for mask in masks))).tolist():
        text, found = _masked(texts[place].as_py(), [mask for mask in masks if mask.candidates & candidates[place]])
        if found:
            changes[place] = text
            counts.update(found)
    return Masked(replaced(texts, changes), dict(counts))


def mask(text: str, params: PiiParams) -> tuple[str, Counter[str]]:
    """The text with every place of an enabled kind replaced, and how many places those were.

    Masking twice finds nothing more; a text without any comes back as it is.
    """
    return _masked(text, _masks(params))


@dataclass(frozen=True)
class _Mask:
    kind: str
    candidates: int  # the bits of `find_candidates` without which a text holds none
    pattern: re.Pattern[str]
    judge: Callable[[re.Match[str]], tuple[int, int] | None]  # what of a match to mask
    replacement: str


def _masked(text: str, masks: list[_Mask]) -> tuple[str, Counter[str]]:
    counts: Counter[str] = Counter()
    while True:  # a number may only be seen as one once the number before it is gone
        before = counts.total()
        for mask in masks:
            text = mask.pattern.sub(partial(_replace, mask, counts), text)
        if counts.total() == before:
            return text, counts


def _replace(mask: _Mask, counts: Counter[str], match: re.Match[str]) -> str:
    found = mask.judge(match)
    if found is None:
        return match[0]
    counts[mask.kind] += 1
    start, end = found
    return match.string[match.start() : start] + mask.replacement + match.string[end : match.end()]


def _masks(params: PiiParams) -> list[_Mask]:
    """In the order in which they are applied: a card number would otherwise pass for phone numbers."""
    email, ip, phone, card = params.email, params.ip_address, params.phone_number, params.card_number

    def address(match: re.Match[str]) -> tuple[int, int] | None:
        return match.span() if _is_personal_address(match, ip.private_ranges) else None

    masks = [
        (email.enabled, _Mask("email", EMAIL, _EMAIL, re.Match.span, email.replacement)),
        (card.enabled, _Mask("card_number", CARD, _CARD, _card_span, card.replacement)),
        (ip.enabled, _Mask("ip_address", IP_V4, _IP_V4, address, ip.replacement)),
        (ip.enabled, _Mask("ip_address", IP_V6, _IP_V6, address, ip.replacement)),
        (phone.enabled, _Mask("phone_number", PHONE, _PHONE, _phone_span, phone.replacement)),
        (phone.enabled, _Mask("phone_number", ANNOUNCED_PHONE, _NUMBER, _announced_span, phone.replacement)),
    ]
    return [mask for enabled, mask in masks if enabled]


# Every pattern looks at a bounded number of characters from where it begins, so that no text takes long.

# name@domain.top-level; letters end with Latin, since Chinese may stand before an address without a blank.
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9_])[A-Za-z0-9_\u00c0-\u024f][A-Za-z0-9_.%+\-\u00c0-\u024f]{0,63}"
    r"@(?:[A-Za-z0-9\u00c0-\u024f](?:[A-Za-z0-9\u00c0-\u024f-]{0,61}[A-Za-z0-9\u00c0-\u024f])?\.){1,8}"
    r"(?:[A-Za-z]{2,24}|xn--[A-Za-z0-9-]{2,59})(?![A-Za-z0-9])"
)

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IP_V4 = re.compile(rf"(?<![A-Za-z0-9.])(?:{_OCTET}\.){{3}}{_OCTET}(?![A-Za-z0-9]|\.[0-9])")
_IP_V6 = re.compile(
    r"(?<![A-Za-z0-9:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]{0,4})(?![A-Za-z0-9:])"
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_COUNTED_THING = re.compile(
    r"(?:version|release|revision|section|chapter|firmware|build|\bEC|§)[ .:]{0,2}$", re.IGNORECASE
)


def _is_personal_address(match: re.Match[str], private_ranges: bool) -> bool:
    """Whether a match is the address of one machine, and not a version number (`1.2.3.4` after "version") or C++."""
    try:
        address = IPv6Address(match[0]) if ":" in match[0] else IPv4Address(match[0])
    except ValueError:
        return False
    if _COUNTED_THING.search(match.string, max(0, match.start() - 12), match.start()):
        return False
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return False
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return private_ranges and address.is_private
    return address.is_global or (private_ranges and address.is_private)


# In one piece, or in groups of 4 (a last one of up to 3), or 4, 6 and 4 or 5, all parted alike.
_CARD = re.compile(
    r"(?<![0-9A-Za-z])(?<![0-9][.,\-])"
    r"(?:[0-9]{13,19}|[0-9]{4}([ -])(?:[0-9]{4}\1[0-9]{4}\1[0-9]{1,4}(?:\1[0-9]{1,3})?|[0-9]{6}\1[0-9]{4,5}))"
    r"(?![0-9A-Za-z]|[.,][0-9])"
)
# First digits and lengths of the large networks (ISO/IEC 7812 issuer identification numbers).
_ISSUERS = (
    (re.compile("4"), (13, 16, 19)),  # Visa
    (re.compile("5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),  # Mastercard
    (re.compile("3[47]"), (15,)),  # American Express
    (re.compile("6011|64[4-9]|65|62|81"), (16, 17, 18, 19)),  # Discover, UnionPay, RuPay
    (re.compile("30[0-5]|3[689]"), (14, 16, 19)),  # Diners Club
    (re.compile("35(?:2[89]|[3-8])"), (16, 17, 18, 19)),  # JCB
    (re.compile("50|5[6-8]|6[37]"), (13, 14, 15, 16, 17, 18, 19)),  # Maestro
    (re.compile("220[0-4]"), (16, 17, 18, 19)),  # Mir
)


def _card_span(match: re.Match[str]) -> tuple[int, int] | None:
    """The match, with or without its last group, if it has an issuer's first digits, length and check digit."""
    separator = match[1]
    ends = [match.end()] if separator is None else [match.end(), match.string.rfind(separator, *match.span())]
    for end in ends:
        digits = re.sub("[ -]", "", match.string[match.start() : end])
        if any(issuer.match(digits) and len(digits) in lengths for issuer, lengths in _ISSUERS) and _luhn(digits):
            return match.start(), end
    return None


def _luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    doubled = [int(digit) * 2 for digit in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(value - 9 if value > 9 else value for value in doubled)) % 10 == 0


_GAP = r"[ ./\-\u00a0\u2009\u2010\u2011\u2013\u202f]"
_NOT_INSIDE = r"(?<![0-9A-Za-z+:])(?<![0-9][.,/\-])"  # a longer number
_NOT_IN_ROW = rf"{_NOT_INSIDE}(?<![0-9] )"
_PHONE = re.compile(
    r"(?=[+(0-9])(?:"
    # International: + and 8 to 15 digits (ITU-T E.164)
    rf"(?<![0-9A-Za-z+])\+[1-9](?:(?:{_GAP}|[()]){{0,3}}[0-9]){{7,14}}(?![0-9])"
    # The same with 00, in groups
    rf"|{_NOT_IN_ROW}00[1-9][0-9]{{0,2}}(?:{_GAP}[0-9]{{1,8}}){{2,6}}(?![0-9])"
    # North American: (212) 555-0123, 212-555-0123, 212.555.0123, 1-212-555-0123, but not three numbers parted by blanks
    rf"|{_NOT_INSIDE}(?:1[ .-])?(?:\([2-9][0-9]{{2}}\)[ .-]?|[2-9][0-9]{{2}}[.-])[2-9][0-9]{{2}}[ .-][0-9]{{4}}"
    r"(?![0-9]|[.-][0-9])"
    # National with the trunk digit 0, in groups: 020 7946 0958, 01 23 45 67 89, (030) 123456, 0211/1234567
    rf"|{_NOT_IN_ROW}(?:\(0[1-9][0-9]{{0,4}}\)|0[1-9][0-9]{{0,4}})(?:{_GAP}{{1,3}}[0-9]{{2,8}}){{1,4}}"
    rf"(?![0-9]|{_GAP}[0-9])"
    r")"
)
# Any other 7 to 15 digits, if a word for telephone announces them
_NUMBER = re.compile(rf"(?=[(0-9]){_NOT_INSIDE}\(?[0-9](?:(?:{_GAP}|[()]){{0,2}}[0-9]){{6,14}}(?![0-9A-Za-z])")
_ANNOUNCEMENT = re.compile(
    r"(?:\b(?:telephone|telefono?|téléphone|teléfono|phone|fon|tel|tél|fax|tty|mobile|cell)|电话|電話|手机|тел)"
    r"(?:[.:\uff1a ]|no\b|number|is\b){0,6}$",
    re.IGNORECASE,
)
_FARTHEST_WORD = 24  # characters before the number
_DATE = re.compile(
    r"\(?(?:[0-9]{1,2}([./-])[0-9]{1,2}\1(?:1[89]|20)?[0-9]{2}|(?:[0-9]{1,2}[./-])?(?:1[89]|20)[0-9]{2})(?![0-9])"
)
_DECIMAL = re.compile(r"\+[0-9]+\.[0-9]+")
_BOOK_NUMBER = re.compile(r"(?:ISBN|ISSN|EAN|DOI|PMID)[ :-]{0,3}(?:1[03][ :-]{0,2})?$", re.IGNORECASE)


def _phone_span(match: re.Match[str]) -> tuple[int, int] | None:
    return _unless_harmless(match, 8 if match[0].startswith("+") else 9)


def _announced_span(match: re.Match[str]) -> tuple[int, int] | None:
    announced = _ANNOUNCEMENT.search(match.string, max(0, match.start() - _FARTHEST_WORD), match.start())
    return _unless_harmless(match, 7) if announced else None


def _unless_harmless(match: re.Match[str], fewest_digits: int) -> tuple[int, int] | None:
    """The number, unless it is a date, a decimal number, the number of a book, or has too few or many digits."""
    digits = sum(map(str.isdigit, match[0]))
    if not fewest_digits <= digits <= 15 or _DATE.match(match[0]) or _DECIMAL.fullmatch(match[0]):
        return None
    if _BOOK_NUMBER.search(match.string, max(0, match.start() - _FARTHEST_WORD), match.start()):
        return None
    in_brackets = match[0].startswith("(") and ")" not in match[0]  # the whole of it, and more
    return match.start() + in_brackets, match.end()
