"""Nothing held out reaches training: not by the pipeline's wiring, not by ids, not as a near copy, not in prose."""

import re
from collections import defaultdict

import pytest

from forgeline.core.pipeline import PipelineStage, read_pipeline
from tests.clone import ROOT, Clone
from tests.pipeline.outputs import SPLITS, ontology, params, rows

TRAINING = ("tokenizer", "pack", "pretrain", "sft", "reward", "align", "reinforce", "merge", "quantize")
HELD_OUT_FOLDERS = ("data/holdout", "data/evaluate")


def stages(*names: str) -> list[PipelineStage]:
    return [stage for stage in read_pipeline(ROOT) if stage.name in names]


def test_no_training_stage_reads_held_out_data() -> None:
    """But `reward`, which scores itself on held-out pairs once it is trained: see the test after this one."""
    found = stages(*TRAINING)
    assert {stage.name for stage in found} == set(TRAINING)
    for stage in found:
        held_out = [dep for dep in stage.deps if "test.parquet" in dep or dep.startswith(HELD_OUT_FOLDERS)]
        assert held_out == (["data/preferences/test.parquet"] if stage.name == "reward" else []), stage.address
        folders = [dep for dep in stage.deps if dep.startswith("data/") and not dep.endswith(".parquet")]
        assert set(folders) <= {"data/pack"}, f"{stage.address}: a folder may hold a test split"
        metrics = [dep for dep in stage.deps if dep.startswith("metrics/")]
        assert metrics == [], f"{stage.address}: figures of the test split must not steer training"


def test_what_training_reads_was_made_without_held_out_data_but_for_leaving_it_out() -> None:
    """Upstream of training only `curate` reads test splits: of questions and pairs, to drop what shares their words.

    So does `reward` where a member of `reinforce` asks it, as none does here: it scores itself on them and learns
    nothing of them (the next test).
    """
    pipeline = read_pipeline(ROOT)
    made_by = {out: stage for stage in pipeline for out in stage.outs}
    makers_of = {stage.address: {made_by[dep] for dep in stage.deps if dep in made_by} for stage in pipeline}
    # `data/clean` is a folder that holds the outs of several stages.
    for stage in pipeline:
        makers_of[stage.address] |= {
            maker for out, maker in made_by.items() for dep in stage.deps if out.startswith(f"{dep}/")
        }
    upstream: set[PipelineStage] = set()
    todo = [maker for stage in pipeline if stage.name in TRAINING for maker in makers_of[stage.address]]
    while todo:
        stage = todo.pop()
        if stage not in upstream:
            upstream.add(stage)
            todo += makers_of[stage.address]
    assert {"ingest@hpo_terms", "instructions", "pretrain"} <= {stage.address for stage in upstream}
    readers = {
        stage.address
        for stage in upstream
        for dep in stage.deps
        if "test.parquet" in dep or dep.startswith(HELD_OUT_FOLDERS)
    }
    assert readers == {"curate"}


@pytest.mark.slow
def test_rewards_held_out_pairs_are_none_of_its_training_pairs(smoke: Clone) -> None:
    pairs = {split: rows(smoke, f"data/preferences/{split}.parquet") for split in SPLITS}
    held_out = {row["pair_id"] for row in pairs["test"]}
    asked = {row["prompt"][-1]["content"] for row in pairs["test"]}
    assert held_out
    for split in ("train", "validation"):
        assert not held_out & {row["pair_id"] for row in pairs[split]}
        assert not asked & {row["prompt"][-1]["content"] for row in pairs[split]}
    definitions = {row["chosen"] for row in pairs["test"] if row["task"] == "definition"}
    assert not definitions & {row[name] for row in pairs["train"] for name in ("chosen", "rejected")}


@pytest.mark.slow
def test_no_held_out_document_is_learned_from(smoke: Clone) -> None:
    found = {split: {row["doc_id"] for row in rows(smoke, f"data/curate/{split}.parquet")} for split in SPLITS}
    assert found["test"]
    assert not found["test"] & found["train"]
    assert not found["test"] & found["validation"]
    assert not found["train"] & found["validation"]


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["instructions", "preferences"])
@pytest.mark.parametrize("learned", ["instructions", "preferences"])
def test_no_term_that_is_asked_about_is_learned_from(smoke: Clone, asked: str, learned: str) -> None:
    keys = {split: {row["split_key"] for row in rows(smoke, f"data/{learned}/{split}.parquet")} for split in SPLITS}
    held_out = {row["split_key"] for row in rows(smoke, f"data/{asked}/test.parquet")}
    assert held_out
    assert not held_out & keys["train"]
    assert not held_out & keys["validation"]
    assert not keys["train"] & keys["validation"]


@pytest.mark.slow
def test_no_held_out_question_or_answer_is_a_training_one(smoke: Clone) -> None:
    questions = rows(smoke, "data/instructions/test.parquet")
    prompts = {row["prompt"][-1]["content"] for row in questions}
    definitions = {row["reference"] for row in questions if row["task"] == "definition_choice"}
    for split in ("train", "validation"):
        for row in rows(smoke, f"data/instructions/{split}.parquet"):
            question, answer = (turn["content"] for turn in row["messages"])
            assert question not in prompts
            assert answer not in definitions


@pytest.mark.slow
def test_no_held_out_document_has_a_near_copy_in_training(smoke: Clone) -> None:
    """Exact Jaccard similarity of word runs; the pipeline's estimate misses a few just above its threshold."""
    knobs = params(smoke)["curate"]["minhash"]
    texts = {split: [row["text"] for row in rows(smoke, f"data/curate/{split}.parquet")] for split in SPLITS}
    learned = [shingles(text, knobs["shingle_size"]) for text in texts["train"] + texts["validation"]]
    owners: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, runs in enumerate(learned):
        for run in runs:
            owners[run].append(number)
    similarities = []
    for text in texts["test"]:
        runs = shingles(text, knobs["shingle_size"])
        for number in {owner for run in runs for owner in owners.get(run, [])}:
            similarities.append(len(runs & learned[number]) / len(runs | learned[number]))
    assert similarities, "no test document shares five words with any other: the test shows nothing"
    assert max(similarities) < knobs["threshold"] + 0.1
    assert sum(similarity >= knobs["threshold"] for similarity in similarities) <= 0.01 * len(texts["test"])


def shingles(text: str, size: int) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}


@pytest.mark.slow
def test_documents_of_held_out_terms_give_no_answer_away(smoke: Clone) -> None:
    terms, splits = ontology(smoke)
    by_name = {term.name: term for term in terms.terms.values()}
    checked = 0
    for split in SPLITS:
        for row in rows(smoke, f"data/curate/{split}.parquet"):
            title, _, body = row["text"].partition("\n\n")
            term = by_name.get(title.partition("\n")[0])
            if row["source"] != "hpo_terms" or term is None or splits[term.term_id] == "train":
                continue
            checked += 1
            assert not re.search(r"organ system|is a kind of|subtype of|falls under|one form of", body, re.IGNORECASE)
            assert not term.definition or term.definition not in row["text"]
    assert checked > 50


@pytest.mark.slow
def test_documents_of_terms_in_training_do_say_it(smoke: Clone) -> None:
    """So that the test above cannot pass because the words have changed."""
    terms, splits = ontology(smoke)
    by_name = {term.name: term for term in terms.terms.values()}
    said = total = 0
    for row in rows(smoke, "data/curate/train.parquet"):
        term = by_name.get(row["text"].partition("\n")[0])
        if row["source"] == "hpo_terms" and term is not None and splits[term.term_id] == "train":
            total += 1
            said += bool(re.search(r"organ system|it affects", row["text"], re.IGNORECASE))
    assert said > 0.8 * total > 100


@pytest.mark.slow
def test_no_document_names_a_held_out_term_as_a_parent(smoke: Clone) -> None:
    """A child's document states the child's organ system, so naming the parent would give the parent's away."""
    terms, splits = ontology(smoke)
    by_name = {term.name: term for term in terms.terms.values()}
    kind_of = re.compile(r"(?:is a kind of|is a subtype of|It falls under|is one form of) ([^.]*)\.")
    named = 0
    for split in SPLITS:
        for row in rows(smoke, f"data/curate/{split}.parquet"):
            term = by_name.get(row["text"].partition("\n")[0])
            for sentence in kind_of.findall(row["text"]) if term and row["source"] == "hpo_terms" else []:
                for parent in term.parents:
                    if terms.terms[parent].name in sentence and splits[parent] != "train":
                        others = [terms.terms[key].name for key in term.parents if splits[key] == "train"]
                        assert any(terms.terms[parent].name in other for other in others), row["text"]
                    named += 1
    assert named > 100
