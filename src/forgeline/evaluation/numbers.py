r"""Whether two ways of writing a result mean the same: `1,000` and `1000`, `\frac{1}{2}`, `1/2` and `0.5`."""

import re
from fractions import Fraction

_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_QUOTIENT = re.compile(r"([+-]?\d+)\s*/\s*(\d+)")
_MIXED = re.compile(r"([+-]?)(\d+)\s+(\d+)\s*/\s*(\d+)")
_LATEX_QUOTIENT = re.compile(r"([+-]?)\\[dt]?frac\s*\{\s*([+-]?\d+)\s*\}\s*\{\s*(\d+)\s*\}")
_NOISE = re.compile(r"\\left|\\right|\\!|\\,|\\;|\\%|\\\$|[$%]")


def number(text: str) -> Fraction | None:
    """The value of a number, a quotient of whole numbers or a mixed number; None if it is none of these.

    Signs of currency and percent are passed over, so 50 % is 50. A comma only parts groups of three digits.
    """
    plain = _NOISE.sub("", text).strip().rstrip(".").strip()
    if _GROUPED.fullmatch(plain):
        return Fraction(plain.replace(",", ""))
    if _DECIMAL.fullmatch(plain):
        return Fraction(plain)
    if found := _MIXED.fullmatch(plain):
        sign, whole, part, parts = found.groups()
        return None if int(parts) == 0 else Fraction(f"{sign}1") * (int(whole) + Fraction(int(part), int(parts)))
    if found := _QUOTIENT.fullmatch(plain):
        return None if int(found[2]) == 0 else Fraction(int(found[1]), int(found[2]))
    if found := _LATEX_QUOTIENT.fullmatch(plain):
        return None if int(found[3]) == 0 else Fraction(f"{found[1]}1") * Fraction(int(found[2]), int(found[3]))
    return None


def same_result(answer: str, reference: str, tolerance: float) -> bool:
    """Whether an answer is right.

    Args:
        answer: As it was written.
        reference: The right result.
        tolerance: Largest difference of two numbers as a share of the reference; 0 wants them equal.

    Results that are no numbers have to be the same text, but for white space and signs of layout.
    """
    ours, right = number(answer), number(reference)
    if ours is not None and right is not None:
        return abs(ours - right) <= Fraction(tolerance) * abs(right)
    return _bare(answer) == _bare(reference)


def _bare(text: str) -> str:
    return "".join(_NOISE.sub("", text).split()).rstrip(".")
