from pathlib import Path

import pytest

from forgeline.core.errors import DataError
from forgeline.core.records import Conversation, EvalSample, PreferencePair, documents_table
from forgeline.evaluation.contamination import Contamination, ContaminationParams, Training, measure_contamination

CHOICE = """\
kind: choice
data: rows.jsonl
prompt: question
max_samples: null
choices: [yes, no]
labels: null
answer: answer
compare: total
"""
HARNESS = "kind: harness\ntask: arc_easy\ndefinitions: null\nnum_fewshot: null\nmax_samples: null\n"
TOLD = "the quick brown fox jumps over the lazy dog"


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def measured(tasks: Path) -> Contamination:
    questions = [
        EvalSample.make("is_a", "a", said(f"Is it so that {TOLD}?"), "Yes."),
        EvalSample.make("is_a", "b", said("Something else altogether here, is it so?"), "No."),
    ]
    pair = PreferencePair.make("s", "t", "k", said("Which animal was it that jumped?"), "a small red fox it was", "dog")
    chat = Conversation.make("s", "t", "k", said("Which animal was it that jumped?"))
    documents = documents_table(["a held out text of a few words", f"and {TOLD} again"], "s")
    corpus = documents_table([f"We say that {TOLD.upper()}!"], "s")["text"]
    training = Training(corpus, [chat], [pair])
    return measure_contamination(documents, questions, [pair], tasks, training, ContaminationParams(shared_words=6))


def test_prompts_and_answers_are_looked_for_in_each_kind_of_text(tmp_path: Path) -> None:
    found = measured(tmp_path)
    values = {
        (task, part): {kind: score["value"] for kind, score in shares.items() if kind != "too_short"}
        for task, parts in found.tasks.items()
        for part, shares in parts.items()
    }
    nowhere = dict.fromkeys(("corpus", "instructions", "preferences", "any"), 0.0)
    assert values == {
        ("perplexity", "prompts"): {**nowhere, "corpus": 0.5, "any": 0.5},
        ("is_a", "prompts"): {**nowhere, "corpus": 0.5, "any": 0.5},
        ("is_a", "answers"): nowhere,
        ("preference", "prompts"): {**nowhere, "instructions": 1.0, "preferences": 1.0, "any": 1.0},
        ("preference", "answers"): {**nowhere, "preferences": 1.0, "any": 1.0},
    }
    assert found.tasks["is_a"]["answers"]["too_short"] == 2
    assert found.counts.as_json() == {"in": 8, "out": 6, "dropped": {"too_short": 2}}


def test_task_files_are_looked_at_and_those_of_the_harness_named(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(CHOICE)
    (tmp_path / "rows.jsonl").write_text(f'{{"question": "{TOLD}", "answer": "yes"}}\n')
    (tmp_path / "arc.yaml").write_text(HARNESS)
    found = measured(tmp_path)
    assert found.tasks["mine"]["prompts"]["corpus"]["value"] == 1.0
    assert found.unchecked == ["arc"]
    (tmp_path / "rows.jsonl").write_text('{"question": "q"}\n')
    with pytest.raises(DataError, match=r"rows.jsonl:1: no field 'answer'"):
        measured(tmp_path)
