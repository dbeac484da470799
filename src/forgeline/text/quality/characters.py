"""The table of character classes that the quality kernels look characters up in.

What Unicode says comes from Python's own data. The sets that rules name are fixed lists, so that no new version of
Unicode changes a decision. Those for splitting words and sentences are spaCy 3.8's (`spacy.lang.char_classes`,
`spacy.lang.punctuation`, the sentencizer; MIT licence, copyright 2016-2024 ExplosionAI GmbH). Those for counting
symbols and punctuated lines are datatrove's (`datatrove.utils.text`; Apache licence 2.0, copyright Hugging Face).
"""

import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

from forgeline.text.kernels import classes
from forgeline.text.kernels.characters import WITHOUT_BLANKS

NUM_CODE_POINTS = 0x110000
# Code points that may have letters or marks: planes 0 to 3 as far as they are used, and the tags and selectors.
_ASSIGNED = ((0, 0x33480), (0xE0000, 0xE0200))

# Code points as hexadecimal numbers and ranges.
_LINE_BREAKS = "a-d 1c-1e 85 2028-2029"
_PUNCTUATION = (
    "21 23 26 28-2a 2c 3a-3c 3e-3f 5b 5d 5f 7b 7d a1 b7 bf 60c 61b 61f 66a 6d4 964 2026 3001-3002 ff01 ff0c ff1a-ff1b "
    "ff1f ff5e"
)
_QUOTES = "22 27 2c 60 ab b4 bb 2018-201a 201c-201e 2329-232a 27e6-27e7 3008-3011 3014-3015 ff08-ff09"
_DASHES = "2013-2014"
_OTHER_PREFIXES = "25 3d a7"
_CURRENCIES = "24 a3 a5 e3f 20a0-20bf fdfc"
_BEFORE_FULL_STOPS = "25 2b 2d 7c b2"
_CASED_LETTERS = (
    "41-5a 61-7a c0-d6 d8-f6 f8-1bf 1c4-2af 386 388-38a 38c 38e-38f 391-3a9 3ac-3af 3b1-3c9 3cc-3ce 400-401 403-40a "
    "40c-40d 410-451 453-45a 45c-45d 490-491 496-497 4a2-4a3 4ae-4af 4ba-4bb 4d8-4d9 4e8-4e9 1d00-1d25 1d6b-1d77 "
    "1d79-1d9a 1e00-1eff 2c60-2c7b 2c7e-2c7f a722-a76f a771-a787 a78b-a78e a790-a7b9 a7fa ab30-ab5a ab60-ab64 "
    "ff21-ff3a ff41-ff5a"
)
_UNCASED_LETTERS = (
    "591-5f4 620-64a 66e-6d5 6e5-6ff 750-77f 8a0-8bd 900-9ff b80-cff d80-dff 1100-137f 2e80-2fdf 2ff0-30ff 31c0-31ef "
    "3200-4dbf 4e00-9fff ac00-d7af f900-faff fb1d-fbb1 fbd3-fd3d fd50-fdc7 fdf0-fdfb fe30-fe4f fe70-fefc 1ee00-1eebb "
    "1f200-1f2ff 20000-2a6df 2a700-2ebef 2f800-2fa1f"
)
_LOWER_WITHOUT_CATEGORY, _UPPER_WITHOUT_CATEGORY = "294", "3a2"
_ICONS = (  # category So of Unicode 11
    "a6 a9 ae b0 482 58d-58e 60e-60f 6de 6e9 6fd-6fe 7f6 9fa b70 bf3-bf8 bfa c7f d4f d79 f01-f03 f13 f15-f17 f1a-f1f "
    "f34 f36 f38 fbe-fc5 fc7-fcc fce-fcf fd5-fd8 109e-109f 1390-1399 1940 19de-19ff 1b61-1b6a 1b74-1b7c 2100-2101 "
    "2103-2106 2108-2109 2114 2116-2117 211e-2123 2125 2127 2129 212e 213a-213b 214a 214c-214d 214f 218a-218b "
    "2195-2199 219c-219f 21a1-21a2 21a4-21a5 21a7-21ad 21af-21cd 21d0-21d1 21d3 21d5-21f3 2300-2307 230c-231f "
    "2322-2328 232b-237b 237d-239a 23b4-23db 23e2-2426 2440-244a 249c-24e9 2500-25b6 25b8-25c0 25c2-25f7 2600-266e "
    "2670-2767 2794-27bf 2800-28ff 2b00-2b2f 2b45-2b46 2b4d-2b73 2b76-2b95 2b98-2bc8 2bca-2bfe 2ce5-2cea 2e80-2e99 "
    "2e9b-2ef3 2f00-2fd5 2ff0-2ffb 3004 3012-3013 3020 3036-3037 303e-303f 3190-3191 3196-319f 31c0-31e3 3200-321e "
    "322a-3247 3250 3260-327f 328a-32b0 32c0-32fe 3300-33ff 4dc0-4dff a490-a4c6 a828-a82b a836-a837 a839 aa77-aa79 "
    "fdfd ffe4 ffe8 ffed-ffee fffc-fffd 10137-1013f 10179-10189 1018c-1018e 10190-1019b 101a0 101d0-101fc 10877-10878 "
    "10ac8 1173f 16b3c-16b3f 16b45 1bc9c 1d000-1d0f5 1d100-1d126 1d129-1d164 1d16a-1d16c 1d183-1d184 1d18c-1d1a9 "
    "1d1ae-1d1e8 1d200-1d241 1d245 1d300-1d356 1d800-1d9ff 1da37-1da3a 1da6d-1da74 1da76-1da83 1da85-1da86 1ecac "
    "1f000-1f02b 1f030-1f093 1f0a0-1f0ae 1f0b1-1f0bf 1f0c1-1f0cf 1f0d1-1f0f5 1f110-1f16b 1f170-1f1ac 1f1e6-1f202 "
    "1f210-1f23b 1f240-1f248 1f250-1f251 1f260-1f265 1f300-1f3fa 1f400-1f6d4 1f6e0-1f6ec 1f6f0-1f6f9 1f700-1f773 "
    "1f780-1f7d8 1f800-1f80b 1f810-1f847 1f850-1f859 1f860-1f887 1f890-1f8ad 1f900-1f90b 1f910-1f93e 1f940-1f970 "
    "1f973-1f976 1f97a 1f97c-1f9a2 1f9b0-1f9b9 1f9c0-1f9c2 1f9d0-1f9ff 1fa60-1fa6d"
)
_HOST_CHARACTERS = "30-39 41-5a 61-7a a1-ffff"
_SENTENCE_ENDS = (
    "21 2e 3f 589 61f 6d4 700-702 7f9 964-965 104a-104b 1362 1367-1368 166e 1735-1736 1803 1809 1944-1945 1aa8-1aab "
    "1b5a-1b5b 1b5e-1b5f 1c3b-1c3c 1c7e-1c7f 203c-203d 2047-2049 2e2e 2e3c 3002 a4ff a60e-a60f a6f3 a6f7 a876-a877 "
    "a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb fe52 fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 11047-11048 "
    "110be-110c1 11141-11143 111c5-111c6 111cd 111de-111df 11238-11239 1123b-1123c 112a9 1144b-1144c 115c2-115c3 "
    "115c9-115d7 11641-11642 1173c-1173e 11a42-11a43 11a9b-11a9c 11c41-11c42 16a6e-16a6f 16af5 16b37-16b38 16b44 1bc9f "
    "1da88"
)
_OTHER_LINE_ENDS = (
    "61d-61e 837 839 83d-83e 17d4-17d6 17d9-17da 1b7d-1b7e 2e53-2e54 10f55-10f59 10f86-10f89 11944 11946 11ef7-11ef8 "
    "11f43-11f44 16e98"
)
_SYMBOLS = (  # and all that may end a line
    "0-8 b-1f 21-2f 3a-40 5b-60 7b-9f ab b4 bb 2013-2014 2019 201c-201e 2026 2236 2501 25ba 3001-3002 3008-300d "
    "3010-3011 ff01 ff05 ff08-ff09 ff0c ff0e ff11 ff1a-ff1b ff1f ff5e"
)
_COUNTED = "23 2e 5b 7b 2026"  # hash sign, full stop, opening brackets, ellipsis
_OPERATORS = "2a-2b 2d 5e"
_INNER_DASHES = "2d 7e 2013-2014"
_SEPARATORS = "2f 3a 3c-3e"

_NAMED = {
    classes.LINE_BREAK: _LINE_BREAKS,
    classes.SYMBOL: f"{_SYMBOLS} {_SENTENCE_ENDS} {_OTHER_LINE_ENDS}",
    classes.SENTENCE_END: _SENTENCE_ENDS,
    classes.LINE_END: f"{_SENTENCE_ENDS} {_OTHER_LINE_ENDS}",
    classes.ALPHABETIC: f"{_CASED_LETTERS} {_UNCASED_LETTERS}",
    classes.LOWER: f"{_UNCASED_LETTERS} {_LOWER_WITHOUT_CATEGORY}",
    classes.UPPER: f"{_UNCASED_LETTERS} {_UPPER_WITHOUT_CATEGORY}",
    classes.DIGIT: "30-39",
    classes.QUOTE: _QUOTES,
    classes.CURRENCY: _CURRENCIES,
    classes.PREFIX: f"{_PUNCTUATION} {_QUOTES} {_DASHES} {_OTHER_PREFIXES} {_CURRENCIES} {_ICONS}",
    classes.SUFFIX: f"{_PUNCTUATION} {_QUOTES} {_DASHES} {_ICONS}",
    classes.ICON: _ICONS,
    classes.FULL_STOP_FOLLOWS: f"30-39 {_UNCASED_LETTERS} {_LOWER_WITHOUT_CATEGORY} {_BEFORE_FULL_STOPS} "
    f"{_PUNCTUATION} {_QUOTES}",
    classes.OPERATOR: _OPERATORS,
    classes.DASH: _INNER_DASHES,
    classes.SEPARATOR: _SEPARATORS,
    classes.IDENTIFIER: "5f",  # and all letters and numbers
    classes.SCHEME: "2b 2d-2e 5f",  # and all that belongs to an identifier
    classes.HOST: _HOST_CHARACTERS,
    classes.HOST_INSIDE: f"2d 5f {_HOST_CHARACTERS}",
    classes.PATH_START: "23 2f 3f",
    classes.COUNTED: _COUNTED,
}
_OF_CATEGORY = {"L": classes.LETTER, "M": classes.MARK, "P": classes.PUNCTUATION, "Nd": classes.DECIMAL}


@cache
def character_classes() -> NDArray[np.uint32]:
    """The bits of `kernels.classes` for every code point, but those that depend on special cases; not to be changed."""
    table = np.zeros(NUM_CODE_POINTS, np.uint32)
    for bit, points in _NAMED.items():
        for first, last in _ranges(points):
            table[first : last + 1] |= np.uint32(bit)
    for first, last in _ASSIGNED:
        table[first:last] |= _unicode_bits("".join(map(chr, range(first, last))))
    lower = classes.LOWER | classes.FULL_STOP_FOLLOWS
    for first, last in _ranges(_CASED_LETTERS):
        for point in range(first, last + 1):
            category = unicodedata.category(chr(point))
            table[point] |= np.uint32(lower if category == "Ll" else classes.UPPER if category == "Lu" else 0)
    for first, last in WITHOUT_BLANKS:
        part = table[first : last + 1]
        part |= np.where(part & np.uint32(classes.IDENTIFIER), np.uint32(classes.UNSPACED), np.uint32(0))
    return table


def byte_classes(table: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """What single bytes are, by the table of characters: see `kernels.classes`."""
    kinds = np.full(256, classes.BYTE_OTHER, np.uint8)
    kinds[0x80:] = classes.BYTE_HIGH
    for byte in range(0x80):
        bits = int(table[byte])
        if bits & classes.LETTER:
            kinds[byte] = classes.BYTE_LETTER
        elif bits & classes.DIGIT:
            kinds[byte] = classes.BYTE_DIGIT
        elif bits & classes.SPACE:
            kinds[byte] = classes.BYTE_SPACE if byte == 0x20 else classes.BYTE_WHITE
        elif byte == 0x2E:
            kinds[byte] = classes.BYTE_FULL_STOP
        elif bits & classes.SUFFIX and not bits & classes.COUNTED:
            kinds[byte] = classes.BYTE_MARK
    return kinds


def _unicode_bits(characters: str) -> NDArray[np.uint32]:
    """The bits that follow from what Unicode says of each character."""
    bits = np.fromiter(map(_category_bits, map(unicodedata.category, characters)), np.uint32, len(characters))
    inside = np.fromiter(map(str.isalnum, characters), np.bool_, len(characters))
    bits[inside] |= np.uint32(classes.IDENTIFIER | classes.SCHEME)
    bits[np.fromiter(map(str.isspace, characters), np.bool_, len(characters))] |= np.uint32(classes.SPACE)
    return bits


@cache
def _category_bits(category: str) -> int:
    return _OF_CATEGORY.get(category, 0) | _OF_CATEGORY.get(category[0], 0)


def _ranges(points: str) -> list[tuple[int, int]]:
    """First and last code point of each entry of a list such as "9-d 20"."""
    return [
        (int(first, 16), int(last or first, 16)) for first, _, last in (part.partition("-") for part in points.split())
    ]
