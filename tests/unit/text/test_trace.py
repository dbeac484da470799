"""The fate of documents, in a small corpus that went through the real stages."""

import json
import random
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console
from tests.unit.sources.source_params import source_params, sources_params

from forgeline.core.errors import DataError
from forgeline.core.records import (
    DOCUMENTS,
    DROPPED,
    Conversation,
    EvalSample,
    PreferencePair,
    document_id,
    read_documents,
    write_documents,
    write_records,
)
from forgeline.core.shards import shard_path, shard_paths
from forgeline.core.storage import write_json
from forgeline.sources.hpo_split import HpoParams
from forgeline.sources.ingest import ingest
from forgeline.sources.params import SourcesParams
from forgeline.text.clean import CleanTask, clean_shard
from forgeline.text.clean_params import CleanParams
from forgeline.text.curate import CurateOutputs, CurateParams, curate, source_shards
from forgeline.text.evaluation_texts import EvaluationSet, EvaluationText, pair_texts, question_texts
from forgeline.text.holdout import HoldoutParams, hold_out
from forgeline.text.quality.assumptions import ASSUMPTIONS
from forgeline.text.quality.rules import RULES
from forgeline.text.trace import Journey, Step, Trace, trace
from forgeline.text.trace_files import Folders
from forgeline.text.trace_rules import Cleaning
from forgeline.text.trace_view import trace_view


def passage(seed: int, length: int = 60) -> str:
    """Words in an order that no other seed has."""
    return " ".join(f"word{number}" for number in random.Random(seed).choices(range(2_000), k=length))


FINE = passage(1)
UNTIDY, TIDY = f"{passage(2)}  \r\n\r\n\r\n\r\nand{passage(3, 5)}", f"{passage(2)}\n\nand{passage(3, 5)}"
SHORT = "too little"
POOR = "brief " * 12
FIRST = passage(5, 120)
NEAR = FIRST + " but for this end"
QUESTION = passage(6, 16)
GIVEN_AWAY = f"{passage(7)} {QUESTION}"
NOTES = [FINE, UNTIDY, SHORT, POOR, " ", FIRST, NEAR, FINE, *(passage(seed) for seed in range(100, 160))]
OWN_QUESTION = passage(8, 16)
OWN_GIVEN_AWAY = f"{passage(10)} {OWN_QUESTION}"
MORE = [GIVEN_AWAY, OWN_GIVEN_AWAY, FINE, "a tail beyond the cap"]

NO_REPETITION = {
    "enabled": False,
    **{
        f"max_duplicate_{what}_fraction": None
        for what in ("paragraph", "paragraph_character", "line", "line_character")
    },
    **{f"max_top_{n}gram_character_fraction": None for n in range(2, 5)},
    **{f"max_duplicate_{n}gram_character_fraction": None for n in range(5, 11)},
}
QUALITY = {
    "enabled": True, "min_words": 20, "max_words": None, "min_mean_word_length": None, "max_mean_word_length": None,
    "max_hash_word_ratio": None, "max_ellipsis_word_ratio": None, "max_bullet_line_fraction": None,
    "max_ellipsis_line_fraction": None, "min_alphabetic_word_fraction": None, "min_stop_words": None, "stop_words": [],
}  # fmt: skip
NO_C4 = {
    "enabled": False, "max_word_characters": None, "remove_citations": False, "terminal_punctuation": None,
    "min_words_per_line": None, "document_phrases": [], "line_phrases": [], "drop_curly_brackets": False,
    "policy_phrases": [], "min_sentences": None,
}  # fmt: skip
NO_FINEWEB = {
    "enabled": False, "min_punctuated_line_fraction": None, "max_short_line_fraction": None,
    "short_line_characters": 30, "max_duplicate_line_character_fraction": None, "max_newline_word_ratio": None,
}  # fmt: skip
RULES_IN_FORCE = {
    "words": "spaces",
    "gopher_repetition": NO_REPETITION,
    "gopher_quality": QUALITY,
    "c4": NO_C4,
    "fineweb": NO_FINEWEB,
}
NOT_MASKED = {"enabled": False, "replacement": "<masked>"}
CLEAN = CleanParams.model_validate(
    {
        "min_characters": 40,
        "max_characters": 100_000,
        "unicode_repair": True,
        "strip_urls": False,
        "strip_code": False,
        "languages": None,
        "min_language_score": 0.5,
        "pii": {
            "email": NOT_MASKED, "phone_number": NOT_MASKED, "card_number": NOT_MASKED,
            "ip_address": {**NOT_MASKED, "private_ranges": False},
        },
        "rules": {"default": RULES_IN_FORCE},
    }
)  # fmt: skip
CURATE = CurateParams.model_validate(
    {
        "memory_megabytes": 64,
        "exact": True,
        "minhash": {
            "enabled": True, "seed": 17, "num_permutations": 112, "num_bands": 14, "shingle_unit": "words",
            "shingle_size": 5, "threshold": 0.8,
        },
        "decontaminate_words": 13,
        "validation_fraction": 0.2,
        "test_fraction": 0.3,
    }
)  # fmt: skip
CLEANING = Cleaning(CLEAN, {"notes": "en", "more": "en"})
HPO = HpoParams(seed=17, validation_fraction=0.05, test_fraction=0.1, max_phenotypes=8)


def make_corpus(root: Path) -> Folders:
    """Runs ingest, clean, curate and holdout as their stages do."""
    own = EvaluationSet("tasks", root / "tasks", [EvaluationText(OWN_QUESTION, "mine/7", "mine")])
    folders = Folders(root / "data", root / "metrics", lambda: own)
    sources = {}
    for name, texts, cap in (("notes", NOTES, None), ("more", MORE, 3)):
        file = root / f"{name}.jsonl"
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        sources[name] = source_params(path=str(file), max_documents=cap)
    params = SourcesParams(
        shard_megabytes=0.01, max_document_megabytes=1.0, max_source_gigabytes=1.0, bytes_per_token=4.0, sources=sources
    )
    for name, source in sources.items():
        ingested, cleaned = folders.ingest / name, folders.clean / name
        result = ingest(
            name, Path(source.path), params, HPO, ingested / "documents.parquet", ingested / "dropped.parquet"
        )
        write_json(folders.metrics / "ingest" / f"{name}.json", result.figures)
        for number, shard in enumerate(shard_paths(ingested / "documents.parquet")):
            kept, dropped = (shard_path(cleaned / f"{part}.parquet", number) for part in ("documents", "dropped"))
            clean_shard(CleanTask(shard, kept, dropped, "en", CLEAN))
    sample = EvalSample.make("definition", "key", [{"role": "user", "content": QUESTION}], "an answer")
    write_records(folders.questions, EvalSample, [sample])
    pair = PreferencePair.make("set", "definition", "key", [{"role": "user", "content": passage(9, 20)}], "yes", "no")
    write_records(folders.pairs, PreferencePair, [pair])
    names = {name: f"{name}.parquet" for name in ("train", "validation", "test", "dropped")}
    outputs = CurateOutputs(
        folders={name: folders.curate / file for name, file in names.items()},
        names=names,
        clusters=folders.curate / "clusters.parquet",
        manifest=folders.curate / "manifest.json",
    )
    evaluations = [question_texts(folders.questions), pair_texts(folders.pairs), own]
    curate(source_shards(folders.clean, list(sources)), evaluations, CURATE, outputs, root)
    test = read_documents(folders.curate / "test.parquet")
    quoted = next(text for text in test["text"].to_pylist() if text != FINE)
    chat = Conversation.make("set", "task", "key", [{"role": "assistant", "content": quoted}])
    write_documents(folders.holdout, hold_out(test, [chat], [], HoldoutParams(shared_words=13)).documents)
    return folders


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def find(folders: Folders, query: str, cleaning: Cleaning = CLEANING) -> Trace:
    return trace(query, folders, cleaning)


def only(folders: Folders, query: str, **changed: Any) -> Journey:
    found = find(folders, query, **changed)
    assert found.num_more == 0
    [journey] = found.journeys
    return journey


def outcomes(journey: Journey) -> list[tuple[str, str, str]]:
    return [(step.stage, step.outcome, step.reason) for step in journey.steps]


def in_split(folders: Folders, split: str) -> list[str]:
    return list(read_documents(folders.curate / f"{split}.parquet")["text"].to_pylist())


def test_several_shards_are_searched(folders: Folders) -> None:
    assert len(shard_paths(folders.ingest / "notes" / "documents.parquet")) > 2


def test_a_blank_record_and_one_beyond_the_cap_left_at_the_source(folders: Folders) -> None:
    assert outcomes(only(folders, document_id(" "))) == [("ingest", "dropped", "empty")]
    journey = only(folders, MORE[-1])
    assert (journey.source, outcomes(journey)) == ("more", [("ingest", "dropped", "over_limit")])


def test_a_short_document_left_with_its_length_and_the_threshold(folders: Folders) -> None:
    [_, step] = only(folders, SHORT).steps
    assert (step.reason, step.detail, step.threshold) == ("too_short", "10 characters", "clean.min_characters 40")


def test_a_quality_rule_is_named_with_what_was_measured_and_its_parameter(folders: Folders) -> None:
    [_, step] = only(folders, POOR).steps
    assert (step.reason, step.detail) == ("gopher_too_few_words", "12")
    assert step.threshold == "clean.rules.default.gopher_quality.min_words 20"


def test_a_cleaned_document_is_found_by_either_form(folders: Folders) -> None:
    by_original, by_cleaned = only(folders, UNTIDY), only(folders, TIDY)
    assert by_original == by_cleaned == only(folders, document_id(TIDY)) == only(folders, document_id(UNTIDY)[:8])
    assert by_original.doc_id == document_id(UNTIDY)
    assert [step.doc_id for step in by_original.steps[:2]] == [document_id(UNTIDY), document_id(TIDY)]


def test_a_copy_names_the_document_that_stays(folders: Folders) -> None:
    step = only(folders, NEAR).steps[-1]
    assert (step.outcome, step.reason, step.detail) == ("dropped", "near_duplicate", document_id(FIRST))
    [survivor] = step.relatives
    assert (survivor.record_id, survivor.kind) == (document_id(FIRST), "survivor")
    assert survivor.place in ("train", "validation", "test")
    assert survivor.similarity is not None
    assert 0.8 <= survivor.similarity < 1
    [kept] = [step for step in find(folders, document_id(FIRST)).journeys[0].steps if step.stage == "curate"]
    assert kept.outcome == survivor.place
    assert [(copy.record_id, copy.kind) for copy in kept.relatives] == [(document_id(NEAR), "near")]


def test_of_equal_documents_the_first_stays_and_the_others_left_for_it(folders: Folders) -> None:
    found = find(folders, FINE)
    assert [journey.source for journey in found.journeys] == ["more", "notes", "notes"]
    last = [next(step for step in journey.steps if step.stage == "curate") for journey in found.journeys]
    assert [step.reason for step in last] == ["exact_duplicate", "", "exact_duplicate"]
    assert [copy.kind for copy in last[1].relatives] == ["exact", "exact"]
    assert [step.relatives[0].kind for step in (last[0], last[2])] == ["survivor", "survivor"]


def test_a_contaminated_document_names_the_question(folders: Folders) -> None:
    step = only(folders, GIVEN_AWAY).steps[-1]
    assert (step.stage, step.reason) == ("curate", "contaminated")
    [question] = step.relatives
    assert (question.record_id, question.kind) == (step.detail, "question")
    assert question.text == QUESTION  # all of its words are shared


def test_a_document_with_a_question_of_a_task_file_names_task_and_line(folders: Folders) -> None:
    journey = only(folders, OWN_GIVEN_AWAY)
    assert (journey.steps[-1].reason, journey.steps[-1].detail) == ("contaminated", "mine/7")
    assert [(entry.record_id, entry.kind, entry.text) for entry in journey.steps[-1].relatives] == [
        ("mine/7", "task_question", OWN_QUESTION)
    ]


def test_test_documents_are_scored_unless_training_quotes_them(folders: Folders) -> None:
    quoted, *rest = [text for text in in_split(folders, "test") if text != FINE]
    assert only(folders, quoted).steps[-1] == Step("holdout", "dropped", document_id(quoted), "quoted_in_training")
    assert outcomes(only(folders, rest[0]))[-2:] == [("curate", "test", ""), ("holdout", "kept", "")]
    held_out = next(text for text in in_split(folders, "validation") if text != FINE)  # of which there are copies
    assert outcomes(only(folders, held_out))[-1] == ("curate", "validation", "")


def test_every_document_has_a_fate(folders: Folders) -> None:
    for text in {*NOTES, *MORE}:
        for journey in find(folders, document_id(text)).journeys:
            last = journey.steps[-1]
            assert last.outcome in ("dropped", "train", "validation", "kept"), text
            assert bool(last.reason) == (last.outcome == "dropped")


def test_a_piece_of_text_finds_up_to_five_documents(folders: Folders) -> None:
    assert only(folders, "but for this end").doc_id == document_id(NEAR)
    many = find(folders, "1")
    assert (len(many.journeys), many.num_more > 20) == (5, True)


def test_a_prefix_of_several_ids_lists_them(tmp_path: Path) -> None:
    folders = Folders(tmp_path, tmp_path / "metrics")
    ids = ["c0ffee00" + digit * 24 for digit in "01"]
    table = pa.table([ids, ["one text", "another"], ["made", "made"]], schema=DOCUMENTS)
    write_documents(folders.ingest / "made" / "documents.parquet", table)
    write_documents(folders.ingest / "made" / "dropped.parquet", DROPPED.empty_table())
    with pytest.raises(DataError, match=f"2 documents have an id that begins with c0ffee00: {ids[0]}, {ids[1]}; give"):
        find(folders, "c0ffee00")
    assert only(folders, ids[1]).text == "another"


def test_stages_that_have_not_run_are_said_to(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "ingest").symlink_to(folders.ingest.resolve())
    assert outcomes(only(Folders(tmp_path, tmp_path / "metrics"), UNTIDY)) == [
        ("ingest", "kept", ""),
        ("clean", "unknown", ""),
    ]
    (tmp_path / "clean").symlink_to(folders.clean.resolve())
    assert outcomes(only(Folders(tmp_path, tmp_path / "metrics"), UNTIDY))[-1] == ("curate", "unknown", "")


def test_nothing_run_and_nothing_found_say_what_to_do(folders: Folders, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no documents yet: run `dvc repro`"):
        find(Folders(tmp_path, tmp_path / "metrics"), FINE)
    with pytest.raises(DataError, match="no document is or contains 'nowhere to be found' in more, notes"):
        find(folders, "nowhere to be found")
    with pytest.raises(DataError, match="no document is or contains '0123abcd'"):
        find(folders, "0123abcd")


@pytest.mark.parametrize(
    ("caps", "knob"),
    [
        ({"max_documents": 2}, "ingest.sources.mine.max_documents (2)"),
        ({"max_tokens": 60}, "ingest.sources.mine.max_tokens (60)"),  # of 4 bytes, two documents of 100
        ({"max_documents": 2, "max_tokens": 1_000}, "ingest.sources.mine.max_documents (2)"),
        ({"max_documents": 4, "max_tokens": 60}, "ingest.sources.mine.max_tokens (60)"),
        ({"max_documents": 5}, ""),
    ],
)
def test_what_stands_behind_a_cap_is_not_denied(tmp_path: Path, caps: dict[str, int], knob: str) -> None:
    texts = [f"document {number} ".ljust(100, "x") for number in range(5)]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    source = source_params(path=str(file), **caps)
    folders = Folders(tmp_path / "data", tmp_path / "metrics")
    documents, dropped = (folders.ingest / "mine" / f"{name}.parquet" for name in ("documents", "dropped"))
    result = ingest("mine", file, sources_params(source), HPO, documents, dropped)
    write_json(folders.metrics / "ingest" / "mine.json", result.figures)
    if knob:
        assert outcomes(only(folders, texts[2])) == [("ingest", "dropped", "over_limit")]
    else:
        assert outcomes(only(folders, texts[4]))[0] == ("ingest", "kept", "")
    for query in ("document 7", document_id(texts[4])) if knob else ("document 7",):
        with pytest.raises(DataError, match="no document is or contains") as error:
            find(folders, query)
        said = str(error.value).partition("as it stands in the document")[2]
        assert said == (
            f"; ingest read mine only up to {knob}: it may stand behind that, where nothing was read" if knob else ""
        )


def test_packaged_data_are_known_beyond_their_cap(tmp_path: Path) -> None:
    descriptor = Path("src/forgeline/sources/hpo.json")
    source = source_params(kind="hpo_terms", path=str(descriptor), text=None, max_documents=2)
    folders = Folders(tmp_path / "data", tmp_path / "metrics")
    documents, dropped = (folders.ingest / "mine" / f"{name}.parquet" for name in ("documents", "dropped"))
    result = ingest("mine", descriptor, sources_params(source), HPO, documents, dropped)
    write_json(folders.metrics / "ingest" / "mine.json", result.figures)
    assert result.figures["budget"]["reached"]
    with pytest.raises(DataError, match=r"as it stands in the document$"):
        find(folders, "nowhere to be found")


def test_stages_that_do_not_belong_together_are_noticed(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "ingest").symlink_to(folders.ingest.resolve())
    for source in ("notes", "more"):
        for part in ("documents", "dropped"):
            shard = shard_paths(folders.clean / source / f"{part}.parquet")[0]
            copy = shard_path(tmp_path / "clean" / source / f"{part}.parquet", 0)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(shard.read_bytes())
    dropped = shard_path(tmp_path / "clean" / "notes" / "dropped.parquet", 0)
    dropped.write_bytes(shard_paths(folders.clean / "more" / "dropped.parquet")[0].read_bytes())
    with pytest.raises(DataError, match=r"was not made from the documents in .*notes: run `dvc repro`"):
        find(Folders(tmp_path, tmp_path / "metrics"), UNTIDY)


def test_what_other_params_would_do_is_said_beside_what_happened(folders: Folders) -> None:
    strict = replace(CLEANING, params=CLEAN.model_copy(update={"min_characters": 1_000}))
    assert only(folders, UNTIDY).steps[1].now == ""
    kept = only(folders, UNTIDY, cleaning=strict).steps[1]
    assert (kept.outcome, kept.now) == ("kept", f"dropped: too_short, {len(TIDY)} characters")
    assert kept.threshold == "clean.min_characters 1000"
    quality = {**RULES_IN_FORCE, "gopher_quality": {**QUALITY, "min_words": 1}}
    mild = replace(
        CLEANING,
        params=CleanParams.model_validate({**CLEAN.model_dump(), "min_characters": 5, "rules": {"default": quality}}),
    )
    dropped = only(folders, SHORT, cleaning=mild).steps[1]
    assert (dropped.outcome, dropped.reason, dropped.now) == ("dropped", "too_short", "kept")
    gone = replace(CLEANING, languages={})
    assert only(folders, SHORT, cleaning=gone).steps[1].threshold == ""


def test_every_rule_has_its_parameter() -> None:
    unexplained = {"gopher_empty", "fineweb_empty", "c4_no_lines_left"}  # there is no threshold to change
    for reason in (rule for rules in RULES.values() for rule in rules):
        threshold = CLEANING._threshold(reason, "en")
        assert bool(threshold) == (reason not in unexplained), reason
        if reason in ASSUMPTIONS and reason not in ("c4_no_lines_left", *HAVE_ANOTHER_KNOB):
            assert threshold.startswith(f"clean.rules.default.{ASSUMPTIONS[reason].knob} ")


# The parameter that makes these fit for a language is not the threshold that was broken.
HAVE_ANOTHER_KNOB = ("gopher_too_few_stop_words", "c4_too_few_sentences", "fineweb_too_many_short_lines")


def test_the_tree_says_all_of_it_at_80_characters(folders: Folders) -> None:
    def shown(query: str) -> str:
        text = StringIO()
        Console(file=text, width=80).print(trace_view(find(folders, query)))
        assert max(map(len, text.getvalue().splitlines())) <= 80
        return re.sub(r"[│├└─\s]+", " ", text.getvalue())

    assert "clean dropped: too_short 10 characters by clean.min_characters 40" in shown(SHORT)
    assert "near_duplicate copy of a document in the split " in shown(NEAR)
    assert f"as {document_id(TIDY)}" in shown(UNTIDY)
    assert "shares words with a held-out question:" in shown(GIVEN_AWAY)
    assert "dropped: contaminated mine/7 shares words with a question of a task file: mine/7" in shown(OWN_GIVEN_AWAY)
    assert "more documents were found" in shown("1")
