# ruff: noqa: RUF001 - Cyrillic looks like Latin
import socket
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from forgeline.core.errors import ParamsError
from forgeline.text import language
from forgeline.text.language import NUM_BYTES, check_known, identify

SENTENCES = {
    "en": "The kidneys filter the blood, remove waste and keep the balance of salts and water in the body.",
    "de": "Die Nieren filtern das Blut, entfernen Abfallstoffe und halten das Gleichgewicht von Salzen und Wasser.",
    "fr": "Les reins filtrent le sang, éliminent les déchets et maintiennent l'équilibre des sels et de l'eau.",
    "es": "Los riñones filtran la sangre, eliminan los desechos y mantienen el equilibrio de sales y agua.",
    "pl": "Nerki filtrują krew, usuwają zbędne produkty przemiany materii i utrzymują równowagę soli i wody.",
    "ru": "Почки фильтруют кровь, удаляют отходы и поддерживают баланс солей и воды в организме.",
    "tr": "Böbrekler kanı süzer, atıkları uzaklaştırır ve vücuttaki tuz ve su dengesini korur.",
    "zh": "肾脏过滤血液,清除废物,并保持体内盐分和水分的平衡。",
    "ja": "腎臓は血液をろ過し、老廃物を取り除き、体内の塩分と水分のバランスを保ちます。",
    "ar": "تقوم الكلى بتصفية الدم وإزالة الفضلات والحفاظ على توازن الأملاح والماء في الجسم.",
    "hi": "गुर्दे रक्त को छानते हैं, अपशिष्ट पदार्थों को हटाते हैं और शरीर में पानी का संतुलन बनाए रखते हैं।",
}


@pytest.fixture(scope="module")
def library() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def test_languages_are_told_apart() -> None:
    found = identify(pa.array(list(SENTENCES.values())))
    assert found.codes.tolist() == list(SENTENCES)
    assert (found.scores > 0.65).all()


@pytest.mark.parametrize("length", [0, 1, 9, 40, 1000])
def test_as_the_library_decides(library: LanguageIdentifier, length: int) -> None:
    texts = [text[:length] for text in SENTENCES.values()]
    found = identify(pa.array(texts))
    for text, code, score in zip(texts, found.codes, found.scores, strict=True):
        expected, probability = library.classify(text)
        if text:
            assert code == expected
        assert score == pytest.approx(probability, rel=1e-3)


@settings(max_examples=200)
@given(st.lists(st.text("abc éßя中の 1.", min_size=3, max_size=60), min_size=1, max_size=4))
def test_as_the_library_decides_on_any_text(library: LanguageIdentifier, texts: list[str]) -> None:
    texts = [unicodedata.normalize("NFC", text) for text in texts]
    found = identify(pa.array(texts))
    chances = [dict(library.rank(text)) for text in texts]
    assert [score for score in found.scores] == pytest.approx([max(chance.values()) for chance in chances], rel=2e-3)
    for code, chance in zip(found.codes, chances, strict=True):  # equal but for the rounding of sums
        assert chance[code] == pytest.approx(max(chance.values()), rel=2e-3)


def test_the_answer_does_not_depend_on_the_company() -> None:
    texts = list(SENTENCES.values())
    forwards, backwards = identify(pa.array(texts)), identify(pa.array(texts[::-1]))
    assert backwards.codes.tolist() == forwards.codes.tolist()[::-1]
    assert backwards.scores.tolist() == forwards.scores.tolist()[::-1]


def test_batches_are_put_together_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pa.array(list(SENTENCES.values()) * 2)
    whole = identify(texts)
    monkeypatch.setattr(language, "_BATCH", 4)
    parts = identify(texts)
    assert (parts.codes.tolist(), parts.scores.tolist()) == (whole.codes.tolist(), whole.scores.tolist())


def test_lines_and_capitals_do_not_confuse_it() -> None:
    found = identify(pa.array([SENTENCES["fr"].replace(" ", "\n"), SENTENCES["en"].upper()]))
    assert found.codes.tolist() == ["fr", "en"]


@pytest.mark.parametrize("start", ["de", "zh"])
def test_only_the_beginning_counts_and_no_character_is_cut(start: str) -> None:
    beginning = "x" + (SENTENCES[start] + " ") * 8
    assert len(beginning.encode()) > NUM_BYTES
    cut = beginning.encode()[:NUM_BYTES].decode(errors="ignore")
    alone, longer = identify(pa.array([cut])), identify(pa.array([beginning + SENTENCES["ru"] * 100]))
    assert (alone.codes, alone.scores) == (longer.codes, longer.scores)


def test_nothing_to_go_by_is_no_language() -> None:
    assert (identify(pa.array(["", "1234 567", "\n"])).scores < 0.3).all()
    assert identify(pa.array([], pa.string())).codes.tolist() == []


def test_no_network_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "socket", refuse)
    language._load_model.cache_clear()
    assert identify(pa.array([SENTENCES["es"]])).codes.tolist() == ["es"]


def test_wanted_languages_must_be_known() -> None:
    check_known(["en", "de", "zh"])
    with pytest.raises(ParamsError, match=r"clean\.languages: nb, xx cannot be told; choose among .*, no,"):
        check_known(["en", "xx", "nb"])
