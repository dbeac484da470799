"""evaluate: every score follows from samples.jsonl, over all questions, and the evidence is what the models say."""

import math
import re
from collections import Counter
from statistics import mean
from typing import Any

import pytest
import torch

from tests.clone import Clone
from tests.pipeline.models import answered, nll, plain_model, plain_tokenizer
from tests.pipeline.outputs import EVALUATED, params, rows, samples

pytestmark = pytest.mark.slow

ASKED = ("organ_system", "is_a", "definition_choice")


def of_task(run: Clone, model: str, task: str) -> list[dict[str, Any]]:
    return [row for row in samples(run, model) if row["task"] == task]


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson 1927: the p for which |p̂ - p| = z sqrt(p (1 - p) / n), from the quadratic formula."""
    z, share = 1.959963984540054, successes / trials
    a, b, c = 1 + z * z / trials, -(2 * share + z * z / trials), share * share
    root = math.sqrt(b * b - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


@pytest.mark.parametrize("model", EVALUATED)
def test_every_question_is_answered_once(smoke: Clone, model: str) -> None:
    questions = rows(smoke, "data/instructions/test.parquet")
    for task in ASKED:
        asked = [row["sample_id"] for row in questions if row["task"] == task]
        assert [row["sample_id"] for row in of_task(smoke, model, task)] == asked
    pairs = [row["pair_id"] for row in rows(smoke, "data/preferences/test.parquet")]
    assert [row["sample_id"] for row in of_task(smoke, model, "preference")] == pairs
    documents = [row["doc_id"] for row in rows(smoke, "data/holdout/documents.parquet")]
    scored = [row["sample_id"] for row in of_task(smoke, model, "perplexity")]
    assert len(set(scored)) == len(scored) == params(smoke)["evaluate"]["scoring"]["max_documents"]
    assert set(scored) <= set(documents)


@pytest.mark.parametrize("model", EVALUATED)
@pytest.mark.parametrize("task", [*ASKED, "preference"])
def test_accuracy_is_right_answers_over_all_questions(smoke: Clone, model: str, task: str) -> None:
    found = of_task(smoke, model, task)
    right = sum(row["parsed"] == row["reference"] for row in found)
    assert [row["correct"] for row in found] == [row["parsed"] == row["reference"] for row in found]
    score = smoke.metrics(f"evaluate/{model}")["tasks"][task]["accuracy"]
    assert score["value"] == right / len(found)
    assert score["n"] == len(found)
    assert score["interval"] == "wilson"
    assert (score["low"], score["high"]) == pytest.approx(wilson(right, len(found)), abs=1e-9)


@pytest.mark.parametrize("model", EVALUATED)
def test_answers_without_a_box_are_wrong_and_count(smoke: Clone, model: str) -> None:
    found = of_task(smoke, model, "organ_system")
    for row in found:
        boxes = re.findall(r"\\boxed\{([^{}]*)\}", row["output"])
        if row["output"].rpartition("\\boxed{")[2].count("}") or not boxes:
            assert row["parsed"] == (boxes[-1].strip() if boxes else None)
    score = smoke.metrics(f"evaluate/{model}")["tasks"]["organ_system"]["format_rate"]
    assert score["value"] == sum(row["parsed"] is not None for row in found) / len(found)
    assert score["n"] == len(found)


@pytest.mark.parametrize("model", EVALUATED)
def test_classification_figures_by_hand(smoke: Clone, model: str) -> None:
    scores = smoke.metrics(f"evaluate/{model}")["tasks"]
    found = of_task(smoke, model, "organ_system")
    assert scores["organ_system"]["macro_f1"]["value"] == pytest.approx(macro_f1(found))
    majority = Counter(row["reference"] for row in found).most_common(1)[0][1] / len(found)
    assert scores["organ_system"]["accuracy"]["baseline"] == majority
    yes_no = of_task(smoke, model, "is_a")
    tp, tn, fp, fn = (
        sum(row["reference"] == truth and row["parsed"] == said for row in yes_no)
        for truth, said in (("Yes.", "Yes."), ("No.", "No."), ("No.", "Yes."), ("Yes.", "No."))
    )
    if tp + tn + fp + fn == len(yes_no):  # no tie: two classes
        spread = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        assert scores["is_a"]["mcc"]["value"] == pytest.approx((tp * tn - fp * fn) / spread if spread else 0.0)
    recalls = (tp / (tp + fn), tn / (tn + fp)) if tp + tn + fp + fn == len(yes_no) else None
    if recalls:
        assert scores["is_a"]["balanced_accuracy"]["value"] == pytest.approx(mean(recalls))


def macro_f1(found: list[dict[str, Any]]) -> float:
    figures = []
    for label in {row["reference"] for row in found}:
        tp = sum(row["reference"] == row["parsed"] == label for row in found)
        wrong = sum((row["reference"] == label) != (row["parsed"] == label) for row in found)
        figures.append(2 * tp / (2 * tp + wrong))
    return mean(figures)


@pytest.mark.parametrize("model", EVALUATED)
def test_perplexity_is_over_all_tokens_and_bytes(smoke: Clone, model: str) -> None:
    found = of_task(smoke, model, "perplexity")
    nats, num_bytes, num_tokens = (
        sum(row["details"][name] for row in found) for name in ("nll_nats", "num_bytes", "num_tokens")
    )
    assert num_bytes == sum(len(row["prompt"].encode()) for row in found)
    scores = smoke.metrics(f"evaluate/{model}")["tasks"]["perplexity"]
    assert scores["bits_per_byte"]["value"] == pytest.approx(nats / math.log(2) / num_bytes)
    assert scores["perplexity"]["value"] == pytest.approx(math.exp(nats / num_tokens))
    assert scores["bits_per_byte"]["n"] == len(found)


@pytest.mark.parametrize("model", EVALUATED)
def test_every_score_lies_in_its_interval(smoke: Clone, model: str) -> None:
    for task, scores in smoke.metrics(f"evaluate/{model}")["tasks"].items():
        for name, score in scores.items():
            slack = 1e-9 if score["interval"] == "wilson" else 0.05  # percentiles of a bootstrap may just miss it
            assert score["low"] - slack <= score["value"] <= score["high"] + slack, (task, name)


@pytest.mark.parametrize("model", EVALUATED)
def test_choices_by_likelihood_follow_from_the_logps(smoke: Clone, model: str) -> None:
    for row in of_task(smoke, model, "definition_choice"):
        details = row["details"]
        values = [logp / len(text.encode()) for logp, text in zip(details["logps"], details["choices"], strict=True)]
        assert row["parsed"] == details["choices"][values.index(max(values))]
    for row in of_task(smoke, model, "preference"):
        details = row["details"]
        assert row["correct"] == (details["chosen_logp"] > details["rejected_logp"])
    differences = [
        row["details"]["chosen_logp"] - row["details"]["rejected_logp"] for row in of_task(smoke, model, "preference")
    ]
    margin = smoke.metrics(f"evaluate/{model}")["tasks"]["preference"]["margin"]["value"]
    assert margin == pytest.approx(mean(differences))


def test_likelihoods_are_those_of_transformers(smoke: Clone) -> None:
    model, tokenizer = plain_model(smoke, "sft"), plain_tokenizer(smoke, "sft")
    questions = {row["sample_id"]: row for row in rows(smoke, "data/instructions/test.parquet")}
    chosen = of_task(smoke, "sft", "is_a")[:4] + of_task(smoke, "sft", "definition_choice")[:3]
    for row in chosen:
        prompt = questions[row["sample_id"]]["prompt"]
        logps = [-nll(model, *answered(tokenizer, prompt, choice)) for choice in row["details"]["choices"]]
        assert row["details"]["logps"] == pytest.approx(logps, abs=1e-2, rel=1e-4)
    limit = params(smoke)["evaluate"]["scoring"]["window_tokens"]
    for row in of_task(smoke, "sft", "perplexity"):
        ids = [0, *tokenizer.encode(row["prompt"], add_special_tokens=False), 0]
        assert row["details"]["num_tokens"] == len(ids) - 1
        if len(ids) <= limit:
            assert row["details"]["nll_nats"] == pytest.approx(nll(model, ids, 1), rel=1e-4)


def test_answers_are_those_of_greedy_transformers(smoke: Clone) -> None:
    model, tokenizer = plain_model(smoke, "sft"), plain_tokenizer(smoke, "sft")
    length = params(smoke)["evaluate"]["scoring"]["max_new_tokens"]
    for row in of_task(smoke, "sft", "organ_system")[:6]:
        ids = torch.tensor([tokenizer.encode(row["prompt"], add_special_tokens=False)])
        written = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=length,
            eos_token_id=[0, 3], pad_token_id=1,
        )  # fmt: skip
        assert tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True) == row["output"]


def test_training_lowers_bits_per_byte_below_a_uniform_model(smoke: Clone) -> None:
    bytes_per_token = smoke.metrics("tokenizer")["bytes_per_token"]
    for model in EVALUATED:
        score = smoke.metrics(f"evaluate/{model}")["tasks"]["perplexity"]
        assert score["perplexity"]["value"] < 0.7 * 1024
        assert score["bits_per_byte"]["value"] < 1.1 * math.log2(1024) / bytes_per_token
