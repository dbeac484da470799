"""Which texts count as written without blanks, and which in characters that say much."""

import pyarrow as pa
import pytest

from forgeline.text.kernels.characters import WITHOUT_BLANKS
from forgeline.text.quality.scripts import dense, without_blanks

TEXTS = [
    # text, without blanks, dense
    ("肾脏过滤血液，清除废物 12 次。", True, True),  # noqa: RUF001
    ("ひらがなとカタカナ", True, True),
    ("รถไฟมาช้าสองชั่วโมง", True, False),  # an alphabet
    ("ລົດໄຟມາຊ້າ", True, False),
    ("ရထားနောက်ကျသည်", True, False),
    ("រថភ្លើងមកយឺត", True, False),
    ("기차가 두 시간 늦었다", False, True),  # syllables, but blanks
    ("The kidneys filter the blood (肾脏).", False, False),
    ("Les reins filtrent le sang.", False, False),
    ("поезд опоздал на два часа", False, False),
    ("0123456789 !!", False, False),
    ("", False, False),
]


@pytest.mark.parametrize(("text", "has_no_blanks", "is_dense"), TEXTS)
def test_scripts_are_told_by_the_larger_part_of_the_letters(text: str, has_no_blanks: bool, is_dense: bool) -> None:
    texts = pa.array([text])
    assert (without_blanks(texts).tolist(), dense(texts).tolist()) == ([has_no_blanks], [is_dense])


def test_scripts_without_blanks_are_those_whose_characters_count_as_words() -> None:
    inside = [chr(point) for first, last in WITHOUT_BLANKS for point in (first, last)]
    outside = [chr(0x0DFF), chr(0x0F00), chr(0x3040), "ㄱ", "a", "é", "、"]
    assert without_blanks(pa.array(inside)).all()
    assert not without_blanks(pa.array(outside)).any()
