"""What cleaning says when its rules do not suit what they are given, and when it keeps quiet."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.unit.text.mini_corpora import mini_corpus, sentence_corpus

from forgeline.core.params import plain, read_yaml
from forgeline.core.records import documents_table
from forgeline.text.clean import clean
from forgeline.text.clean_params import CleanParams
from forgeline.text.clean_report import CleanReport

ROOT = Path(__file__).parents[3]
ENGLISH = "The kidneys filter the blood, remove waste and keep the balance of salts and water in the body."


def values(preset: str) -> dict[str, Any]:
    section: dict[str, Any] = plain(read_yaml(ROOT / "presets" / f"{preset}.yaml"))["clean"]
    return section


def params(preset: str = "web", **changed: Any) -> CleanParams:
    return CleanParams.model_validate({**values(preset), **changed})


def english_rules() -> dict[str, Any]:
    """The rules of the preset for web text, for every language alike."""
    return {"default": values("web")["rules"]["default"]}


def warnings_of(table: pa.Table, language: str, section: CleanParams) -> tuple[CleanReport, list[str]]:
    report = clean(table, language, section).report
    return report, report.warnings("mini")


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("language", ["zh", "ja"])
def test_a_rule_for_runs_of_words_is_named_where_a_script_has_no_blanks(language: str, declared: bool) -> None:
    table = mini_corpus(language)
    report, warnings = warnings_of(table, language if declared else "auto", params(rules=english_rules()))
    assert report.dropped == {"gopher_top_2gram": 60}
    assert warnings == [
        f"mini: gopher_top_2gram dropped 100% of 60 documents in '{language}', and that rule assumes words between "
        f"spaces: give the language rules of its own in clean.rules.{language} and set words there to characters, or "
        "change gopher_repetition.max_top_2gram_character_fraction (docs/cleaning.md)"
    ]


@pytest.mark.parametrize("language", ["th", "auto"])
def test_rules_that_fail_for_one_cause_are_named_and_counted_together(language: str) -> None:
    report, [warning] = warnings_of(mini_corpus("th"), language, params(rules=english_rules()))
    assert report.counts.num_out == 0
    runs = {reason: number for reason, number in report.dropped.items() if reason.startswith("gopher_top")}
    assert min(runs.values()) < 0.2 * 60 < sum(runs.values()) < 60
    assert warning == (
        f"mini: gopher_top_2gram, gopher_top_3gram, gopher_top_4gram dropped {sum(runs.values()) / 60:.0%} of 60 "
        "documents in 'th', and those rules assume words between spaces: give the language rules of its own in "
        "clean.rules.th and set words there to characters, or change gopher_repetition.max_top_2gram_character_fraction"
        ", gopher_repetition.max_top_3gram_character_fraction, gopher_repetition.max_top_4gram_character_fraction "
        "(docs/cleaning.md)"
    )


@pytest.mark.parametrize("language", ["zh", "ja", "th"])
def test_a_script_without_blanks_in_a_source_said_to_be_english_is_noticed(language: str) -> None:
    report, [warning] = warnings_of(mini_corpus(language), "en", params())
    assert report.counts.num_out == 0
    reason, number = report.dropped.most_common(1)[0]
    assert reason.startswith("gopher_top_")
    assert warning == (
        "mini: its language is given as 'en', but 50 of 50 documents that rules for that language dropped look like "
        f"'{language}' ({reason} dropped most, {number}): set ingest.sources.mini.language"
    )


@pytest.mark.parametrize("rule", ["top_3gram", "top_4gram", *(f"duplicate_{size}gram" for size in range(5, 11))])
def test_every_rule_for_runs_of_words_is_named(rule: str) -> None:
    profile = english_rules()["default"]
    limits = {name: None if name.startswith("max_") else value for name, value in profile["gopher_repetition"].items()}
    limits[f"max_{rule}_character_fraction"] = 0.0
    reason = f"gopher_{rule}" if rule.startswith("top") else f"gopher_{rule}s"
    profile["gopher_repetition"] = limits
    repeating = ["\n".join([text] * 6) for text in mini_corpus("zh", 20)["text"].to_pylist()]
    report, [warning] = warnings_of(documents_table(repeating, "mini"), "zh", params(rules={"default": profile}))
    assert report.dropped == {reason: 20}
    assert warning.startswith(f"mini: {reason} dropped 100% of 20 documents in 'zh'")
    assert f"gopher_repetition.max_{rule}_character_fraction" in warning


@pytest.mark.parametrize("language", ["en", "fr", "auto"])
def test_languages_with_blanks_that_repeat_themselves_are_no_cause_for_a_warning(language: str) -> None:
    phrase = "la pluie est la pluie et " if language == "fr" else "the rain is the rain and "
    good = mini_corpus("fr", 30)["text"].to_pylist() if language == "fr" else english_pages(30)
    texts = [f"{phrase * 40}{number}" for number in range(30)] + good
    rules = english_rules()
    rules["fr"] = {**rules["default"], "gopher_quality": {**rules["default"]["gopher_quality"], "stop_words": ["la"]}}
    rules["fr"]["gopher_quality"]["min_stop_words"] = 1
    report, warnings = warnings_of(documents_table(texts, "mini"), language, params(rules=rules))
    assert report.counts.num_out == 30
    assert report.dropped == {"gopher_top_2gram": 30}
    assert warnings == []


def test_chinese_counted_in_characters_that_repeats_itself_is_no_cause_for_a_warning() -> None:
    rules = values("web")["rules"]
    rules["zh"]["gopher_repetition"]["max_top_2gram_character_fraction"] = 0.2
    texts = [f"{'下雨' * 40}。{number}" for number in range(30)] + mini_corpus("zh", 60)["text"].to_pylist()
    report, warnings = warnings_of(documents_table(texts, "mini"), "zh", params(rules=rules))
    assert report.dropped["gopher_top_2gram"] >= 30
    assert warnings == []


@pytest.mark.parametrize("language", ["zh", "ja"])
@pytest.mark.parametrize("declared", [True, False])
def test_short_texts_in_a_dense_script_are_not_lost_in_silence(language: str, declared: bool) -> None:
    table = sentence_corpus(language)
    report, warnings = warnings_of(table, language if declared else "auto", params("default"))
    num_short = report.dropped["too_short"]
    assert num_short > 50
    assert len(warnings) == 1
    assert f"mini: too_short dropped {num_short / 60:.0%} of 60 documents in '{language}'" in warnings[0]
    assert "assumes an alphabet, in which a text has more characters: lower clean.min_characters" in warnings[0]
    assert clean(table, language, params("default", min_characters=15)).report.warnings("mini") == []


def test_short_chinese_said_to_be_english_is_noticed() -> None:
    report, warnings = warnings_of(sentence_corpus("zh"), "en", params("default"))
    assert report.dropped == {"too_short": 60}
    assert warnings == [
        "mini: its language is given as 'en', but 50 of 50 documents that rules for that language dropped look like "
        "'zh' (too_short dropped most, 60): set ingest.sources.mini.language"
    ]


def test_some_short_texts_are_no_cause_for_a_warning() -> None:
    short = [f"短文{number}" for number in range(10)]
    for language, texts in (("zh", mini_corpus("zh", 60)["text"].to_pylist()), ("en", english_pages(60))):
        for section in (params("default"), params("default", languages=["en", "zh"])):
            assert warnings_of(documents_table(texts + short, "mini"), language, section)[1] == []
    unwanted = documents_table(sentence_corpus("zh", 30)["text"].to_pylist() + english_pages(30), "mini")
    assert warnings_of(unwanted, "auto", params("default", languages=["en"]))[1] == []
    english = documents_table([f"Number {number}" for number in range(25)] + english_pages(30), "mini")
    assert warnings_of(english, "en", params("default"))[1] == []


@pytest.mark.parametrize(
    ("texts", "reason", "knob"),
    [
        ([f"Number {number}" for number in range(40)], "too_short", "clean.min_characters"),
        ([f"{ENGLISH} {number} " * 40 for number in range(40)], "too_long", "clean.max_characters"),
        (
            [f"{ENGLISH} {number}" for number in range(40)],
            "gopher_too_few_words",
            "gopher_quality.min_words in clean.rules",
        ),
        (mini_corpus("fr", 40)["text"].to_pylist(), "language", "clean.languages"),
    ],
)
def test_a_source_that_one_rule_takes_away_whole_is_named_with_rule_and_knob(
    texts: list[str], reason: str, knob: str
) -> None:
    rules = english_rules()
    rules["default"]["gopher_repetition"]["enabled"] = False
    section = params(max_characters=2000, languages=["en"], rules=rules)
    report, warnings = warnings_of(documents_table(texts, "mini"), "en", section)
    assert report.dropped == {reason: 40}
    assert warnings == [
        f"mini: {reason} dropped 100% of 40 documents, nearly all of them: if they were meant to stay, "
        f"change {knob} (docs/cleaning.md)"
    ]
    more = documents_table(texts + english_pages(10), "mini")
    assert warnings_of(more, "en", section)[1] == []


def test_a_warning_about_a_few_documents_does_not_hide_that_nearly_all_are_gone() -> None:
    texts = [f"Number {number}" for number in range(500)] + mini_corpus("zh", 20)["text"].to_pylist()
    first, second = warnings_of(documents_table(texts, "mini"), "auto", params(rules=english_rules()))[1]
    assert first.startswith("mini: gopher_top_2gram dropped 100% of 20 documents in 'zh'")
    assert second.startswith("mini: too_short dropped 96% of 520 documents, nearly all of them")


def english_pages(num_documents: int) -> list[str]:
    """Pages that all rules keep."""
    lines = (
        "Every morning the baker of house {0} opens the door and sets out the bread that the village has ordered.",
        "Nobody in street {0} knows who planted the old lime trees, but the children have always played there.",
        "The bridge was closed for {0} days after heavy rain, and people took a ferry to the other side.",
        "She wrote {0} letters to her sister about the school, the garden and the books they had read.",
        "When winter comes, the farmers of valley {0} bring their sheep down to be with them until spring.",
    )
    return ["\n".join(line.format(number) for line in lines) for number in range(num_documents)]
