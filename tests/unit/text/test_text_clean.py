import hashlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.unit.text.mini_corpora import mini_corpus

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.params import plain, read_yaml
from forgeline.core.records import DROPPED, documents_table
from forgeline.core.shards import ShardWriter
from forgeline.text import language
from forgeline.text.clean import _load_ahead, clean, clean_shard, clean_source, clean_tasks
from forgeline.text.clean_params import CleanParams
from forgeline.text.clean_report import CleanReport
from forgeline.text.normalize import normalize

ROOT = Path(__file__).parents[3]
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=60) | st.text(
    "ab. \n\r\t\x00\x0b#é\u0301@1", max_size=60
)


def values(preset: str) -> dict[str, Any]:
    section: dict[str, Any] = plain(read_yaml(ROOT / "presets" / f"{preset}.yaml"))["clean"]
    return section


def params(preset: str = "default", **changed: Any) -> CleanParams:
    return CleanParams.model_validate({**values(preset), **changed})


def only(**rules: dict[str, Any]) -> dict[str, Any]:
    """The published rules with the named families switched on and changed, for every language."""
    profile = values("default")["rules"]["default"]
    for family, changed in rules.items():
        profile[family] = {**profile[family], "enabled": True, **changed}
    return {"default": profile}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


FATES = [
    ("a" * 39, ("too_short", "39 characters")),
    ("a" * 38 + " \n\n", ("too_short", "38 characters")),
    ("é" * 40, None),
    ("a" * 100, None),
    ("a" * 101, ("too_long", "101 characters")),
]


@pytest.mark.parametrize(("text", "fate"), FATES)
def test_lengths_are_exact_and_count_characters(text: str, fate: tuple[str, str] | None) -> None:
    result = clean(documents_table([text], "s"), "en", params(max_characters=100))
    dropped = [(row["reason"], row["detail"]) for row in result.dropped.to_pylist()]
    assert dropped == ([] if fate is None else [fate])
    assert result.documents["text"].to_pylist() == ([text] if fate is None else [])


def test_a_kept_document_has_the_id_of_its_new_text_and_a_dropped_one_stays_as_it_came() -> None:
    changed, same, short = "Cafe\u0301 " + "a" * 40 + "  \r\n", "b" * 40, " short \r"
    table = documents_table([changed, short, same], "mine")
    result = clean(table, "en", params())
    normal = "Café " + "a" * 40
    assert result.documents.to_pylist() == [
        {"doc_id": sha(normal), "text": normal, "source": "mine"},
        {"doc_id": sha(same), "text": same, "source": "mine"},
    ]
    assert result.dropped.to_pylist() == [
        {"doc_id": sha(short), "text": short, "source": "mine", "reason": "too_short", "detail": "6 characters"}
    ]
    assert result.report.counts.as_json() == {"in": 3, "out": 2, "dropped": {"too_short": 1}}
    assert result.report.figures == {"num_documents": 2, "num_characters": 85, "num_bytes": 86}


def test_of_each_rule_the_dropped_tell_the_measured_value_in_the_order_they_came() -> None:
    words = "the dog and the cat have a long talk about that old house of theirs by the sea"
    few, hashes, good = "that is of the few words " + "x" * 20, "# which have that # " * 20, f"{words}. " * 4
    rules = only(gopher_quality={"min_words": 9})
    result = clean(documents_table([hashes, good, few, "short"], "s"), "en", params(rules=rules))
    rows = [(row["reason"], row["detail"]) for row in result.dropped.to_pylist()]
    assert rows == [
        ("gopher_too_many_hash_signs", "0.4"),
        ("gopher_too_few_words", "7"),
        ("too_short", "5 characters"),
    ]
    assert result.documents["text"].to_pylist() == [good.strip()]


def test_lines_that_c4_cuts_out_are_gone_and_the_id_follows() -> None:
    sentences = [f"This is sentence number {number} of a page." for number in range(6)]
    text = "\n".join(["Home | About | Contact", *sentences])
    kept = clean(documents_table([text], "s"), "en", params(rules=only(c4={}))).documents.to_pylist()
    assert kept == [{"doc_id": sha("\n".join(sentences)), "text": "\n".join(sentences), "source": "s"}]


def test_personal_data_are_masked_after_the_rules_and_counted() -> None:
    text = "Write to ann.lee@example.org or call +49 30 1234567 in the evening."
    pii = {kind: {**part, "enabled": True} for kind, part in values("default")["pii"].items()}
    result = clean(
        documents_table([text, "no such thing, but long enough to be kept by the rules"], "s"), "en", params(pii=pii)
    )
    masked = "Write to <EMAIL> or call <PHONE_NUMBER> in the evening."
    assert result.documents["text"].to_pylist()[0] == masked
    assert result.documents["doc_id"].to_pylist()[0] == sha(masked)
    assert result.report.pii == {"email": 1, "phone_number": 1, "ip_address": 0, "card_number": 0}


ENGLISH = "The kidneys filter the blood, remove waste and keep the balance of salts and water in the body."
FRENCH = "Les reins filtrent le sang, éliminent les déchets et maintiennent l'équilibre des sels et de l'eau."
GERMAN = "Die Nieren filtern das Blut, entfernen Abfallstoffe und halten das Gleichgewicht der Salze."


def test_only_wanted_languages_stay() -> None:
    table = documents_table([ENGLISH, FRENCH, GERMAN, "0123456789 " * 5], "s")
    result = clean(table, "en", params(languages=["de", "en"]))
    assert result.documents["text"].to_pylist() == [ENGLISH, GERMAN]
    first, second = result.dropped.to_pylist()
    assert (first["text"], first["reason"], first["detail"]) == (FRENCH, "language", "fr 1.00")
    assert second["reason"] == "language"
    assert result.report.languages == {"en": 1, "fr": 1, "de": 1, "und": 1}


def test_a_language_must_be_likely_enough() -> None:
    text = "Jean-Paul Martin, Berlin, Hotel Central, 12-14, Orange Radio"
    table = documents_table([text], "s")
    kept = [clean(table, "auto", params(min_language_score=score)).report.languages for score in (0.0, 1.0)]
    assert kept[1] == {"und": 1}
    assert kept[0] != kept[1]


def test_nobody_looks_for_languages_when_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: pa.Array) -> None:
        raise AssertionError("languages were looked for")

    monkeypatch.setattr("forgeline.text.clean.identify", refuse)
    assert clean(documents_table([ENGLISH], "s"), "en", params()).report.languages == {}


def test_a_language_that_nobody_can_tell_is_refused_before_the_work(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "in", documents_table([], "s").schema, 100) as writer:
        writer.write(documents_table([ENGLISH], "s"))
    with pytest.raises(ParamsError, match=r"clean\.languages: nb cannot be told; choose among"):
        clean_tasks(tmp_path / "in", tmp_path / "kept", tmp_path / "dropped", "en", params(languages=["nb"]))


@pytest.mark.parametrize("language", ["zh", "fr"])
@pytest.mark.parametrize("declared", [True, False])
def test_by_default_no_language_is_thrown_away(language: str, declared: bool) -> None:
    table = mini_corpus(language)
    report = clean(table, language if declared else "auto", params()).report
    assert report.counts.num_out == table.num_rows
    assert report.warnings("mini") == []


def test_chinese_has_rules_of_its_own_for_web_text() -> None:
    table = mini_corpus("zh")
    for declared in ("zh", "auto"):
        report = clean(table, declared, params("web")).report
        assert (report.counts.num_out, report.warnings("mini")) == (table.num_rows, [])


@pytest.mark.parametrize("declared", [True, False])
def test_rules_for_english_that_drop_french_are_named_with_share_and_knob(declared: bool) -> None:
    report = clean(mini_corpus("fr"), "fr" if declared else "auto", params("web")).report
    assert report.counts.num_out == 0
    assert report.warnings("mini") == [
        "mini: gopher_too_few_stop_words dropped 100% of 60 documents in 'fr', and that rule assumes the language of "
        "its list of words: give the language rules of its own in clean.rules.fr and change gopher_quality.stop_words "
        "there (docs/cleaning.md)"
    ]
    assert report.metrics("mini")["warnings"] == report.warnings("mini")


def test_french_rules_of_its_own_end_the_warning() -> None:
    rules = values("web")["rules"]
    rules["fr"] = {
        **rules["default"],
        "gopher_quality": {**rules["default"]["gopher_quality"], "stop_words": ["le", "de", "et", "les"]},
    }
    table = pa.concat_tables([mini_corpus("fr"), mini_corpus("zh"), mini_corpus("fr")])
    result = clean(table, "auto", params("web", rules=rules))
    assert result.report.counts.num_out == table.num_rows
    assert result.report.warnings("mini") == []
    kept = [text.split() for text in result.documents["text"].to_pylist()]
    assert kept == [text.split() for text in table["text"].to_pylist()], "in the order they came"


def test_a_source_in_another_language_than_it_says_is_noticed() -> None:
    report = clean(mini_corpus("fr"), "en", params("web")).report
    assert report.counts.num_out == 0
    assert report.warnings("mini") == [
        "mini: its language is given as 'en', but 50 of 50 documents that rules for that language dropped look like "
        "'fr' (gopher_too_few_stop_words dropped most, 60): set ingest.sources.mini.language"
    ]


def test_english_that_rules_drop_is_no_cause_for_a_warning() -> None:
    page = " ".join([ENGLISH] * 4)
    table = documents_table([f"{ENGLISH} {number}" for number in range(30)] + [page] * 10, "s")
    report = clean(table, "en", params(rules=only(gopher_quality={}))).report
    assert report.dropped == {"gopher_too_few_words": 30}
    assert report.warnings("s") == []


@settings(max_examples=60)
@given(st.lists(TEXTS, max_size=8), st.sampled_from(["en", "auto"]), st.sampled_from(["default", "web"]))
def test_every_document_is_kept_or_dropped(texts: list[str], language: str, preset: str) -> None:
    table = documents_table(texts, "s")
    section = params(preset, min_characters=5)
    result = clean(table, language, section)
    assert result.report.counts.num_in == len(texts) == result.documents.num_rows + result.dropped.num_rows
    left = result.dropped.select(["doc_id", "text", "source"]).to_pylist()
    assert all(row in table.to_pylist() for row in left)
    for row in result.documents.to_pylist():
        assert row["doc_id"] == sha(row["text"])
    if preset == "default":
        stayed = [text for text in texts if text not in {row["text"] for row in left}]
        assert result.documents["text"].to_pylist() == [normalize(text, section.normal_form) for text in stayed]


@pytest.fixture
def shards(tmp_path: Path) -> Iterator[Path]:
    texts = [f"{ENGLISH} Number {number}.  \n" if number % 3 else f"short {number}" for number in range(40)]
    with ShardWriter(tmp_path / "in", documents_table([], "s").schema, 1500) as writer:
        writer.write(documents_table(texts, "s"))
    return tmp_path / "in"


def test_shards_are_mapped_to_shards_and_add_up(shards: Path, tmp_path: Path) -> None:
    kept, dropped = tmp_path / "kept", tmp_path / "dropped"
    report = CleanReport()
    tasks = clean_tasks(shards, kept, dropped, "en", params())
    assert len(tasks) > 1
    for task in tasks:
        report.add(pickle.loads(pickle.dumps(clean_shard(pickle.loads(pickle.dumps(task))))))
    names = [path.name for path in sorted(shards.iterdir())]
    assert [path.name for path in sorted(kept.iterdir())] == [path.name for path in sorted(dropped.iterdir())] == names
    whole = clean(pq.read_table(shards), "en", params())
    assert pq.read_table(kept).equals(whole.documents)
    assert pq.read_table(dropped).equals(whole.dropped)
    assert report == whole.report
    assert report.counts.dropped == {"too_short": 14}


def test_workers_find_the_language_model_loaded() -> None:
    language._load_model.cache_clear()
    _load_ahead("en", params())
    assert language._load_model.cache_info().currsize == 1
    assert language.unpack_model.cache_info().currsize == 0  # 68 MB


def test_one_worker_and_two_write_the_same_bytes(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = {}
    for workers in ("1", "2"):
        monkeypatch.setenv("FORGELINE_WORKERS", workers)
        folder = tmp_path / workers
        report = clean_source("mine", shards, folder / "kept", folder / "dropped", "auto", params())
        files = {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}
        written[workers] = (report.counts, files)
    assert written["1"] == written["2"]
    assert len(written["1"][1]) >= 4


def test_a_shard_of_which_nothing_is_left_still_tells_its_columns(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "in", documents_table([], "s").schema, 100) as writer:
        writer.write(documents_table([], "s"))
    [task] = clean_tasks(tmp_path / "in", tmp_path / "kept", tmp_path / "dropped", "auto", params("web"))
    assert clean_shard(task).counts.num_in == 0
    assert pq.read_schema(task.dropped).equals(DROPPED)
    assert pq.read_table(task.kept).num_rows == 0


def test_without_documents_the_stage_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run `dvc repro`"):
        clean_tasks(tmp_path / "nowhere", tmp_path / "kept", tmp_path / "dropped", "en", params())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"min_characters": 100_001}, "min_characters is above max_characters"),
        ({"rules": {}}, "rules has no profile 'default'"),
        ({"rules": {**only(), "chinese": only()["default"]}}, "rules.chinese is for no language"),
        ({"languages": []}, "languages"),
        ({"languages": ["English"]}, "languages"),
        ({"min_language_score": 1.5}, "min_language_score"),
    ],
)
def test_contradictions_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        params(**changed)


def test_web_differs_from_default_in_cleaning_alone() -> None:
    default, web = (plain(read_yaml(ROOT / "presets" / f"{name}.yaml")) for name in ("default", "web"))
    assert {name for name in default if default[name] != web[name]} == {"clean"}
    section = web["clean"]
    assert all(part["enabled"] for part in section["pii"].values())
    published = section["rules"]["default"]
    assert published == {
        name: {**part, "enabled": True} if isinstance(part, dict) else part
        for name, part in default["clean"]["rules"]["default"].items()
    }
