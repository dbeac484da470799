"""The quality rules: what is measured, what C4's rules leave, switches, other languages, threads."""

import gc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.unit.text.mixed_documents import CHINESE, mixed_documents
from tests.unit.text.quality_reference import PUBLISHED

from forgeline.text.quality.assumptions import ASSUMPTIONS
from forgeline.text.quality.params import FAMILIES, QualityParams
from forgeline.text.quality.rules import REASONS, RULES, judge

PROSE = (
    "The rules are applied to documents, and a document that breaks one of them is dropped. This text has to be long "
    "enough for all of them: it needs fifty words and five sentences. It has none of the marks that send it away. "
    "Nobody repeats anything here. That is what good text looks like, with a little luck.\n"
    "A second line follows the first one. It is not short either, so that the two of them make a small page of prose."
)


def changed(params: QualityParams, family: str, **values: Any) -> QualityParams:
    part = getattr(params, family).model_copy(update=values)
    return params.model_copy(update={family: part})


def only_rule(family: str, **values: Any) -> QualityParams:
    """One rule of a family, all else off."""
    part = getattr(PUBLISHED, family)
    off = {name: None for name, value in part if name.startswith(("min_", "max_"))}
    return changed(PUBLISHED, family, **(off | values)).only(family)


def verdict(text: str, params: QualityParams) -> tuple[str, float]:
    judged = judge(pa.array([text]), params)
    return REASONS[judged.reasons[0]], judged.values[0]


def left(text: str, **values: Any) -> str | None:
    """The text as C4's rules leave it, None if they drop it."""
    judged = judge(pa.array([text]), changed(PUBLISHED, "c4", min_sentences=None, **values).only("c4"))
    return judged.texts[0].as_py() if judged.kept[0] else None


def test_good_text_stays_as_it_is() -> None:
    judged = judge(pa.array([PROSE]), PUBLISHED)
    assert (judged.texts.to_pylist(), judged.reasons.tolist(), np.isnan(judged.values).tolist()) == (
        [PROSE],
        [0],
        [True],
    )


@pytest.mark.parametrize(
    ("text", "reason", "value"),
    [
        ("", "gopher_empty", 0.0),
        ("One line.\n\nOne line.\n\nOther.", "gopher_duplicate_paragraphs", 1 / 3),
        ("Same\nSame\nother line of text here", "gopher_duplicate_lines", 1 / 3),
        ("Few words.", "gopher_too_few_words", 2.0),
        ("of the " * 30, "gopher_top_2gram", 30 * 6 / 210),
    ],
)
def test_dropped_documents_tell_what_was_measured(text: str, reason: str, value: float) -> None:
    family = next(family for family in FAMILIES if reason in RULES[family])
    assert verdict(text, PUBLISHED.only(family)) == (reason, pytest.approx(value))
    judged = judge(pa.array([text]), PUBLISHED.only(family))
    assert judged.texts.to_pylist() == [text]


WORDS = st.lists(st.sampled_from(["aa", "bb", "cc", "dd"]), min_size=1, max_size=80)


def plain_top(words: list[str], size: int) -> int:
    grams = [" ".join(words[start : start + size]) for start in range(len(words) - size + 1)]
    if not grams:
        return 0
    gram, count = Counter(grams).most_common(1)[0]
    return len(gram) * count


def plain_duplicates(words: list[str], size: int) -> int:
    seen: set[str] = set()
    characters, start = 0, 0
    while start <= len(words) - size:
        gram = "".join(words[start : start + size])
        if gram in seen:
            characters += len(gram)
            start += size
        else:
            seen.add(gram)
            start += 1
    return characters


@settings(max_examples=200, deadline=None)
@given(words=WORDS, size=st.integers(2, 10))
def test_ngrams_are_counted_as_plain_python_does(words: list[str], size: int) -> None:
    text = " ".join(words)
    kind, plain = ("top", plain_top) if size < 5 else ("duplicate", plain_duplicates)
    params = only_rule("gopher_repetition", **{f"max_{kind}_{size}gram_character_fraction": 0.0})
    _, value = verdict(text, params)
    assert np.nan_to_num(value) == pytest.approx(plain(words, size) / len(text))


def test_c4_cuts_lines_out_and_strips_the_rest() -> None:
    lines = [
        "  The first line stays[1] as it is [citation needed].  ",
        "No mark at its end",
        "It goes on and on...",
        "Too short.",
        "Please enable JAVASCRIPT to go on.",
        "We value your Privacy Policy, as you know.",
        "",
        'The last one stays too!"\u00a0',
    ]
    assert left("\n".join(lines)) == 'The first line stays as it is .\nThe last one stays too!"'
    assert left("\r\n".join(lines)) == 'The first line stays as it is .\nThe last one stays too!"'
    assert left("\n".join(lines), remove_citations=False, terminal_punctuation=["d"]) == "No mark at its end"


def test_phrases_are_found_in_any_case_and_beyond_ascii() -> None:
    kept = "A line of several words stays."
    assert (
        left(f"{kept}\nOur coo\u212aie policy is here for all.") == kept
    )  # the sign for kelvin, whose lower case is k
    assert left(f"{kept}\nPOLITIQUE DE CONFIDENTIALIT\u00c9 du site.", policy_phrases=["confidentialité"]) == kept
    assert left(f"{kept}\nÉCOLE de la vie ici.", line_phrases=["école"]) == kept
    assert left(f"{kept}\nSome Lorem\u00a0ipsum text is here.") is not None
    assert left(f"{kept}\nSome LOREM IPSUM text is here.") is None


def test_curly_brackets_come_after_javascript_and_before_policies() -> None:
    kept = "A line of several words stays."
    assert left(f"{kept}\nThis javascript line has a {{ in it.") == kept
    assert left(f"{kept}\nOur privacy policy has a {{ in it.") is None
    assert left(f"{kept}\nOur privacy policy has a {{ in it.", drop_curly_brackets=False) == kept


def test_a_document_without_lines_is_dropped_even_if_no_sentences_are_asked_for() -> None:
    assert verdict("No mark\nNone here either", only_rule("c4"))[0] == "c4_no_lines_left"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_threshold_of_null_switches_its_rule_off(family: str) -> None:
    samples = [sample.text for sample in mixed_documents(200, seed=3)]
    assert not judge(pa.array(samples), PUBLISHED.only(family)).kept.all()
    off = only_rule(family, **({"terminal_punctuation": None} if family == "c4" else {}))
    if family == "c4":
        off = changed(off, "c4", document_phrases=[], drop_curly_brackets=False)
    judged = judge(pa.array(samples), off)
    about_nothing = {"gopher_empty", "c4_no_lines_left", "fineweb_empty", "kept"}
    assert {REASONS[reason] for reason in judged.reasons} <= about_nothing


def test_without_any_family_nothing_is_dropped() -> None:
    none = PUBLISHED
    for family in FAMILIES:
        none = changed(none, family, enabled=False)
    texts = pa.array(["", "x", PROSE])
    judged = judge(texts, none)
    assert judged.kept.all()
    assert judged.texts.equals(texts)


def test_families_are_applied_in_order_and_fineweb_sees_what_c4_left() -> None:
    furniture = "\n".join(f"Menu {number}" for number in range(60))
    text = f"{PROSE}\n{furniture}"
    assert verdict(text, PUBLISHED.only("fineweb"))[0] == "fineweb_too_few_punctuated_lines"
    judged = judge(pa.array([text]), changed(PUBLISHED, "gopher_quality", min_alphabetic_word_fraction=None))
    assert judged.texts.to_pylist() == [PROSE]
    assert verdict("x", PUBLISHED)[0] == "gopher_too_few_words"


def test_slices_large_strings_and_empty_arrays() -> None:
    texts = [sample.text for sample in mixed_documents(50, seed=5)]
    whole = judge(pa.array(texts), PUBLISHED)
    part = judge(pa.array(texts).slice(20, 10), PUBLISHED)
    large = judge(pa.array(texts, pa.large_string()), PUBLISHED)
    assert part.reasons.tolist() == whole.reasons[20:30].tolist()
    assert part.texts.to_pylist() == whole.texts.to_pylist()[20:30]
    assert (large.reasons.tolist(), large.texts.to_pylist()) == (whole.reasons.tolist(), whole.texts.to_pylist())
    empty = judge(pa.array([], pa.string()), PUBLISHED)
    assert (len(empty.texts), empty.reasons.size) == (0, 0)
    with pytest.raises(ValueError, match="null"):
        judge(pa.array(["a", None]), PUBLISHED)


def test_threads_do_not_disturb_each_other() -> None:
    batches = [pa.array([sample.text for sample in mixed_documents(60, seed=seed)]) for seed in range(12)]
    alone = [judge(batch, PUBLISHED) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda batch: judge(batch, PUBLISHED), batches))
    assert [one.reasons.tolist() for one in together] == [one.reasons.tolist() for one in alone]
    assert all(one.texts.equals(other.texts) for one, other in zip(together, alone, strict=True))


def test_chinese_needs_rules_of_its_own() -> None:
    sentences = [sentence for sentence in CHINESE if sentence.endswith(("。", "！"))]  # noqa: RUF001
    text = "\n".join("".join(sentences[start : start + 3]) for start in range(0, 9, 3))
    assert verdict(text, PUBLISHED.only("gopher_quality"))[0] == "gopher_too_few_words"
    fitting = {"min_mean_word_length": None, "min_alphabetic_word_fraction": 0.7, "stop_words": ["的", "是", "了"]}
    own = changed(PUBLISHED, "gopher_quality", **fitting)
    own = changed(own, "c4", terminal_punctuation=["。", "！", "？", "”", "…"])  # noqa: RUF001
    judged = judge(pa.array([text]), own.model_copy(update={"words": "characters"}))
    assert REASONS[judged.reasons[0]] == "kept"
    assert judged.texts.to_pylist() == [text]


def test_every_rule_that_assumes_something_is_a_rule() -> None:
    assert set(ASSUMPTIONS) <= set(REASONS)
    for assumption in ASSUMPTIONS.values():
        family, knob = assumption.knob.split(".")
        assert knob in type(getattr(PUBLISHED, family)).model_fields


@pytest.mark.parametrize(
    ("family", "values", "message"),
    [
        ("gopher_quality", {"min_words": 10, "max_words": 5}, "min_words is above max_words"),
        ("gopher_quality", {"stop_words": ["the"]}, "min_stop_words is more than there are stop_words"),
        ("c4", {"policy_phrases": [f"phrase {number}" for number in range(60)]}, "shorten them"),
        ("c4", {"line_phrases": ["ab"]}, "at least 3 characters"),
    ],
)
def test_params_that_contradict_each_other(family: str, values: dict[str, Any], message: str) -> None:
    part = getattr(PUBLISHED, family)
    with pytest.raises(ValidationError, match=message):
        type(part).model_validate(part.model_dump() | values)


def test_characters_as_words_have_no_least_length() -> None:
    with pytest.raises(ValidationError, match=r"gopher_quality\.min_mean_word_length"):
        QualityParams.model_validate(PUBLISHED.model_dump() | {"words": "characters"})


def test_judged_texts_are_freed_without_a_garbage_collection() -> None:
    """A reference cycle would keep the text of shard after shard in memory until Python next looks for cycles."""
    gc.collect()
    gc.disable()
    try:
        before = pa.total_allocated_bytes()
        for _ in range(3):
            judge(pa.array(["A sentence of no interest. " * 4_000] * 20), PUBLISHED)
        assert pa.total_allocated_bytes() - before < 1_000_000  # a batch has two million bytes
    finally:
        gc.enable()
