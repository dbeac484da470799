"""Tasks against a model whose every answer is known: its logits are a table over the last token."""

import json
import math

import pytest
import torch
from tests.conftest import byte_bpe_params, shards_of
from transformers import LlamaConfig, LlamaForCausalLM

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.params import validate
from forgeline.core.records import EvalSample, PreferencePair
from forgeline.core.storage import sha256_text
from forgeline.evaluation.evaluate import TASKS, evaluate
from forgeline.evaluation.likelihood import Span, span_logps
from forgeline.evaluation.params import EvaluateParams, ScoringParams
from forgeline.evaluation.tasks.base import HeldOut, NgramBaseline, Subject, answer_branches
from forgeline.evaluation.tasks.choices import choose
from forgeline.evaluation.work import Journal
from forgeline.tokenization.byte_bpe import train_byte_bpe
from forgeline.tokenization.chat import render_conversation, render_prompt

TEXTS = ["Seizures are events of the nervous system.", "A cleft palate is an opening.", "Yes. No. boxed answers."]
SCORING = {
    "tasks": ["perplexity", "organ_system", "is_a", "definition_choice", "preference"],
    "max_documents": 2,
    "window_tokens": 8,
    "batch_tokens": 256,
    "max_new_tokens": 6,
    "num_bootstrap": 100,
    "seed": 1,
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    params = byte_bpe_params(280, 2)
    return train_byte_bpe(shards_of(tmp_path_factory.mktemp("texts"), TEXTS * 3), params)


@pytest.fixture(scope="module")
def subject(tokenizer):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=128,
        initializer_range=0.2,
    )
    return Subject(LlamaForCausalLM(config).eval(), tokenizer)


def user(text):
    return [{"role": "user", "content": text}]


def held_out(**changes):
    questions = [
        EvalSample.make("organ_system", "a", user("Organ of seizures?"), r"\boxed{Nervous system}"),
        EvalSample.make("organ_system", "b", user("Organ of a cleft?"), r"\boxed{Mouth}"),
        EvalSample.make("is_a", "c", user("Is a cleft an opening?"), "Yes.", ["Yes.", "No."]),
        EvalSample.make("is_a", "d", user("Is a seizure an opening?"), "No.", ["Yes.", "No."]),
        EvalSample.make("definition_choice", "e", user("Define a cleft."), TEXTS[1], [TEXTS[0], TEXTS[1]]),
        EvalSample.make("other", "f", user("Not scored."), "x"),
    ]
    pairs = [PreferencePair.make("s", "definition", "g", user("Define a cleft."), TEXTS[1], "Seizures.")]
    documents = [(f"d{i}", text) for i, text in enumerate(TEXTS)]
    values = {"documents": documents, "questions": questions, "pairs": pairs, "ngram": NgramBaseline(3, 2.5)}
    return HeldOut(**{**values, **changes})


def scoring(**changes):
    return ScoringParams(**{**SCORING, **changes})


def test_every_sample_is_scored_or_accounted_for(subject):
    result = evaluate(subject, held_out(), scoring(), {}, Journal(None))
    assert result.counts.as_json() == {
        "in": 3 + 6 + 1,
        "out": 2 + 2 + 2 + 1 + 1,
        "dropped": {"task_not_scored": 1, "beyond_max_documents": 1},
    }
    assert {task: sorted(scores) for task, scores in result.tasks.items()} == {
        "perplexity": ["bits_per_byte", "perplexity"],
        "organ_system": ["accuracy", "format_rate", "macro_f1"],
        "is_a": ["accuracy", "balanced_accuracy", "mcc"],
        "definition_choice": ["accuracy"],
        "preference": ["accuracy", "margin"],
    }
    assert sorted(result.confusions) == ["is_a", "organ_system"]
    for task, confusion in result.confusions.items():
        asked = [(row["reference"], row["parsed"]) for row in result.samples if row["task"] == task]
        assert sum(sum(answers.values()) for answers in confusion.values()) == len(asked)
        for true, answer in asked:
            assert confusion[true]["(no answer)" if answer is None else answer] == asked.count((true, answer))
    for row in result.samples:
        assert row["prompt_sha256"] == sha256_text(row["prompt"])
        json.dumps(row, allow_nan=False)
    assert result == evaluate(subject, held_out(), scoring(), {}, Journal(None))


def test_bits_per_byte_is_the_code_length_of_the_documents(subject, tokenizer):
    scores = TASKS["perplexity"].run(subject, held_out(), scoring(max_documents=3, window_tokens=64)).scores
    boundary = tokenizer.bos_token_id
    nats, num_tokens = 0.0, 0
    for text in TEXTS:
        ids = torch.tensor([[boundary, *tokenizer.encode(text, add_special_tokens=False), boundary]])
        nats += subject.model(ids, labels=ids).loss.item() * (ids.shape[1] - 1)
        num_tokens += ids.shape[1] - 1
    num_bytes = sum(len(text.encode()) for text in TEXTS)
    assert scores["bits_per_byte"].value == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-5)
    assert scores["perplexity"].value == pytest.approx(math.exp(nats / num_tokens), rel=1e-5)
    assert (scores["bits_per_byte"].baseline, scores["bits_per_byte"].baseline_name) == (2.5, "trigram")
    assert scores["bits_per_byte"].n == 3


def test_organ_system_judges_the_box_and_keeps_the_unparsable(subject, tokenizer, monkeypatch):
    from forgeline.evaluation.tasks import written
    from forgeline.inference.engine import Generation

    def canned(_model, prompts, **_arguments):
        texts = [r"\boxed{Skin} no, \boxed{Nervous system}", "Mouth"]
        assert len(prompts) == len(texts)
        return [Generation([*tokenizer.encode(t, add_special_tokens=False), tokenizer.eos_token_id], []) for t in texts]

    monkeypatch.setattr(written, "generate", canned)
    result = TASKS["organ_system"].run(subject, held_out(), scoring())
    assert [(row["parsed"], row["correct"]) for row in result.samples] == [("Nervous system", True), (None, False)]
    assert result.samples[0]["output"] == r"\boxed{Skin} no, \boxed{Nervous system}"
    assert result.samples[1]["reference"] == "Mouth"
    assert result.scores["accuracy"].value == 0.5
    assert result.scores["accuracy"].n == 2
    assert result.scores["accuracy"].baseline == 0.5
    assert result.scores["format_rate"].value == 0.5
    assert result.scores["macro_f1"].value == 0.5  # F1 1 and 0
    assert result.scores["macro_f1"].baseline == pytest.approx(1 / 3)  # F1 2/3 and 0


def test_answers_are_scored_after_the_prompt_with_their_end(subject, tokenizer):
    prompt, answer = user("Is a cleft an opening?"), "Yes."
    branches = answer_branches(tokenizer, prompt, [answer, "No."])
    assert branches.prompt == render_prompt(tokenizer, prompt)
    assert branches.answers == [
        [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id] for text in (answer, "No.")
    ]
    earlier = [*prompt, {"role": "assistant", "content": "No."}, *user("Sure?")]
    assert answer_branches(tokenizer, earlier, [answer]).prompt == render_prompt(tokenizer, earlier)


def test_choices_are_ranked_by_likelihood(subject, tokenizer):
    questions = [sample for sample in held_out().questions if sample.task == "definition_choice"]
    chosen = choose(subject, questions, 256, per_byte=True)[0]
    expected = []
    for text in questions[0].choices:
        chat = render_conversation(tokenizer, [*questions[0].prompt, {"role": "assistant", "content": text}])
        ids = torch.tensor([chat.input_ids])
        logps = subject.model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None]).squeeze(1)
        expected.append(logps[torch.tensor(chat.assistant_mask[1:]).bool()].sum().item())
    assert chosen.logps == pytest.approx(expected, abs=1e-3)
    per_byte = [value / len(text.encode()) for value, text in zip(expected, questions[0].choices, strict=True)]
    assert chosen.chosen == questions[0].choices[per_byte.index(max(per_byte))]
    assert chosen.prompt.endswith("<|im_start|>assistant\n")


def test_a_tie_is_no_answer(subject, monkeypatch):
    monkeypatch.setattr(
        "forgeline.evaluation.tasks.choices.branch_logps", lambda _model, rows: [[-1.0, -1.0]] * len(rows)
    )
    question = EvalSample.make("is_a", "k", user("?"), "Yes.", ["Yes.", "No."])
    result = TASKS["is_a"].run(subject, held_out(questions=[question]), scoring())
    assert result.samples[0]["parsed"] is None
    assert result.scores["accuracy"].value == 0.0


def test_free_answers_are_held_against_the_reference(subject, monkeypatch):
    from forgeline.evaluation.tasks import reference_answer
    from forgeline.evaluation.tasks.written import Written

    outputs = ["An opening.", "the nervous system, mostly", ""]
    references = ["opening", "Nervous system", "opening"]
    questions = [
        EvalSample.make("reference_answer", str(number), user(f"{number}?"), text, tools="[]" if number else "")
        for number, text in enumerate(references)
    ]

    def canned(_subject, prompts, max_new_tokens, _batch_tokens, tools):
        assert (len(prompts), max_new_tokens, tools) == (3, 6, ["", "[]", "[]"])
        return [Written("prompt", output, [1]) for output in outputs]

    monkeypatch.setattr(reference_answer, "write_answers", canned)
    result = TASKS["reference_answer"].run(subject, held_out(questions=questions), scoring())
    assert [(row["parsed"], row["correct"]) for row in result.samples] == [
        ("An opening.", True),
        ("the nervous system, mostly", False),
        ("", False),
    ]
    assert result.scores["exact_match"].value == pytest.approx(1 / 3)
    assert result.scores["exact_match"].baseline == pytest.approx(2 / 3)  # "opening", every time
    assert result.scores["f1"].value == pytest.approx((1 + 2 * 2 / 5 + 0) / 3)
    assert result.scores["f1"].baseline_name == "commonest answer"


def test_what_is_written_does_not_depend_on_the_layout(subject, monkeypatch):
    from forgeline.evaluation.tasks import written

    prompts = [user(text) for text in ("Define a cleft.", "Is a seizure an opening of the nervous system?", "?")]
    packed = written.write_answers(subject, prompts, 8, 64)
    monkeypatch.setattr(written, "is_packable", lambda _model: False)
    assert packed == written.write_answers(subject, prompts, 8, 64)


def test_preference_margin_is_the_difference_of_log_likelihoods(subject, tokenizer):
    pair = held_out().pairs[0]
    result = TASKS["preference"].run(subject, held_out(), scoring())
    read = answer_branches(tokenizer, pair.prompt, (pair.chosen, pair.rejected))
    spans = [Span(read.prompt + answer, len(read.prompt)) for answer in read.answers]
    chosen, rejected = (float(values.sum()) for values in span_logps(subject.model, spans, batch_tokens=1))
    assert result.scores["margin"].value == pytest.approx(chosen - rejected, abs=1e-3)
    assert result.samples[0]["correct"] == (chosen > rejected)


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        ("perplexity", {"documents": []}, "no samples"),
        ("is_a", {"questions": []}, "no evaluation questions of task 'is_a'"),
        ("preference", {"pairs": []}, "no preference pairs"),
        ("is_a", {"questions": [EvalSample.make("is_a", "k", user("?"), "Yes.", ["No."])]}, "lacks choices"),
        ("organ_system", {"questions": [EvalSample.make("organ_system", "k", user("?"), "Skin")]}, "no boxed answer"),
    ],
)
def test_nothing_to_score_is_an_error(subject, task, changes, message):
    with pytest.raises(DataError, match=message):
        evaluate(subject, held_out(**changes), scoring(tasks=[task]), {}, Journal(None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": []}, "tasks"),
        ({"tasks": ["is_a", "is_a"]}, "is_a stands there more than once"),
        ({"tasks": ["no/name"]}, "no/name"),
        ({"num_bootstrap": 10}, "num_bootstrap: got 10"),
        ({"seed": True}, "seed: got True"),
    ],
)
def test_params_that_cannot_be(changes, message):
    values = {"models": ["sft"], "scoring": {**SCORING, **changes}}
    with pytest.raises(ParamsError, match=message):
        validate(values, EvaluateParams, "evaluate", "params.yaml", {})


@pytest.mark.parametrize("task", ["perplexity", "organ_system", "is_a", "definition_choice", "preference"])
def test_logits_that_are_no_numbers_are_never_scored(subject, task):
    model = LlamaForCausalLM(subject.model.config).eval()
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.inf)  # the weights of a layer are finite, what comes out is not
    with pytest.raises(DataError, match="logits are not numbers"):
        evaluate(Subject(model, subject.tokenizer), held_out(), scoring(tasks=[task]), {}, Journal(None))
