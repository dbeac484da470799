"""Repairs text that was decoded with the wrong encoding ("Ã©" for "é", "â€œ" for a quotation mark), by means of ftfy.

Of ftfy (R. Speer, 2019, https://doi.org/10.5281/zenodo.2591652) only the repair of encodings is used. HTML entities,
ligatures, full-width forms and curly quotes stay: they are what the author wrote.

ftfy looks at a line only if it holds an improbable sequence of characters. `mojibake_classes` and `unlikely_pairs` are
a coarser form of that test for kernels: what ftfy would change always passes it, and few other texts do.
"""

import re
from functools import cache

import ftfy
import numpy as np
import numpy.typing as npt
from ftfy.badness import MOJIBAKE_CATEGORIES, is_bad

from forgeline.text.kernels.normalize import ALWAYS, IF_ANOTHER_FOLLOWS

_ENCODINGS_ONLY = ftfy.TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    fix_surrogates=False,
    remove_control_chars=False,
    normalization=None,
    explain=False,
)

# Characters that ftfy's rules name one by one; the rest go by its categories.
_SINGLE = {"oe": "Œœ", "lead": "ÂÃÎÐ", "arabic_lead": "ØÙ", "low_quote": "\u201a", "degree": "°"}
_CLASSES = ("none", *_SINGLE, *MOJIBAKE_CATEGORIES, "ascii_not_letter")
_UPPER_ACCENTED = "upper_accented lead arabic_lead"
_ACCENTED = f"lower_accented {_UPPER_ACCENTED} oe"
_START = "start_punctuation low_quote"
_SIGNS = f"box {_START} end_punctuation currency numeric law"
_LETTERS = "lower_common upper_common"
# Which class followed by which is unlikely: always, or if another letter, digit or sign follows at once. Each line
# covers rules of ftfy.badness.BADNESS_RE, which may ask for more characters around the pair.
_UNLIKELY = (
    (ALWAYS, " ".join(_CLASSES), "c1"),
    (ALWAYS, f"{_ACCENTED} {_SIGNS} {_LETTERS} bad", "bad"),
    (ALWAYS, "bad", f"{_ACCENTED} {_SIGNS}"),
    (ALWAYS, "lower_accented lower_common oe box end_punctuation currency numeric", f"{_UPPER_ACCENTED} oe"),
    (ALWAYS, "box end_punctuation currency numeric", "lower_accented oe"),
    (ALWAYS, f"{_ACCENTED} box end_punctuation", "currency"),
    (ALWAYS, f"{_UPPER_ACCENTED} oe box", "numeric law"),
    (ALWAYS, f"{_ACCENTED} {_SIGNS}", "box"),
    (ALWAYS, "box", "kaomoji degree end_punctuation"),
    (ALWAYS, "currency numeric box", _START),
    (ALWAYS, "oe", " ".join(_CLASSES)),
    (ALWAYS, "lead", f"common currency bad {_UPPER_ACCENTED} lower_accented oe {_START} end_punctuation degree"),
    (ALWAYS, "lead", "ascii_not_letter"),
    (ALWAYS, f"{_UPPER_ACCENTED} oe", "degree"),
    (ALWAYS, "lower_accented", "numeric"),
    (ALWAYS, "numeric", "numeric end_punctuation bad common currency kaomoji degree"),
    (ALWAYS, f"{_UPPER_ACCENTED} oe", _START),
    (ALWAYS, "lower_common", "upper_common currency"),
    (IF_ANOTHER_FOLLOWS, f"{_ACCENTED} currency numeric box law end_punctuation", f"{_START} end_punctuation"),
    (ALWAYS, "low_quote", f"{_UPPER_ACCENTED} oe lower_accented kaomoji"),
    (IF_ANOTHER_FOLLOWS, "upper_common", f"{_START} end_punctuation currency degree numeric"),
    (
        IF_ANOTHER_FOLLOWS,
        "arabic_lead",
        f"common currency bad numeric {_START} end_punctuation {_UPPER_ACCENTED} degree",
    ),
)


def repair(text: str) -> str:
    """The text with the lines that hold mojibake decoded as they should have been; most texts come back as they are."""
    return "\n".join(ftfy.fix_text(line, _ENCODINGS_ONLY) if is_bad(line) else line for line in text.split("\n"))


@cache
def mojibake_classes() -> npt.NDArray[np.uint8]:
    """For every code point of the basic plane its class, an index of `unlikely_pairs`."""
    classes = np.zeros(0x10000, np.uint8)
    for name, characters in MOJIBAKE_CATEGORIES.items():  # written like the inside of a regular expression's brackets
        classes[_code_points(characters)] = _CLASSES.index(name)
    for name, characters in _SINGLE.items():
        classes[_code_points(characters)] = _CLASSES.index(name)
    classes[:0x80] = 0
    classes.flags.writeable = False
    return classes


def _code_points(characters: str) -> list[int]:
    points: list[int] = []
    for first, last in re.findall(r"(.)(?:-(.))?", characters, re.DOTALL):
        points += range(ord(first), ord(last or first) + 1)
    return points


@cache
def unlikely_pairs() -> npt.NDArray[np.uint8]:
    """By the classes of a character and the next: 0, `IF_ANOTHER_FOLLOWS` or `ALWAYS`, as `survey` takes it."""
    pairs = np.zeros((len(_CLASSES), len(_CLASSES)), np.uint8)
    for likelihood, firsts, seconds in _UNLIKELY:
        for first in firsts.split():
            for second in seconds.split():
                place = _CLASSES.index(first), _CLASSES.index(second)
                pairs[place] = max(pairs[place], likelihood)
    pairs.flags.writeable = False
    return pairs
