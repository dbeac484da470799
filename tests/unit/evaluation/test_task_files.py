"""Tasks that a user defines, on files as they are published, with a model whose answers are known."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from forgeline.core.errors import DataError, ParamsError
from forgeline.evaluation.params import ScoringParams
from forgeline.evaluation.task_files.choice import ChoiceFromFile
from forgeline.evaluation.task_files.definition import read_definition, unreadable_definitions
from forgeline.evaluation.task_files.load import load_tasks
from forgeline.evaluation.tasks.base import Subject
from forgeline.evaluation.tasks.choices import Choice
from forgeline.evaluation.tasks.written import Written

SCORING = ScoringParams(
    tasks=["mine"], max_documents=1, window_tokens=8, batch_tokens=64, max_new_tokens=4, num_bootstrap=100, seed=1
)
PUBMEDQA = """\
kind: choice
data: rows.jsonl
prompt: "{contexts}\\n\\n{question}"
max_samples: null
choices: [yes, no, maybe]
labels: null
answer: final_decision
compare: total
"""
ARC = """\
kind: choice
data: rows.jsonl
prompt: question
max_samples: null
choices: choices.text
labels: choices.label
answer: answerKey
compare: per_byte
"""
SQUAD = """\
kind: extraction
data: rows.jsonl
prompt: "{context} {question}"
max_samples: null
answers: answers.text
no_answer: unanswerable
max_new_tokens: 8
"""
PROMPTS = """\
kind: generation
data: rows.jsonl
prompt: question
max_samples: null
max_repeated_share: 0.3
max_new_tokens: 8
"""
TWO = {"text": ["a", "b"], "label": ["A", "B"]}
GSM8K = """\
kind: result
data: rows.jsonl
prompt: question
max_samples: 2
answer: answer
answer_pattern: "#### (.+)"
tolerance: 0.0
max_new_tokens: 8
"""


def write(folder: Path, definition: str, *rows: Any) -> Path:
    (folder / "mine.yaml").write_text(definition)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def scores_of(task: Any, monkeypatch: pytest.MonkeyPatch, outputs: list[str]) -> tuple[dict[str, float], list[Any]]:
    """Scores of a task on which the model writes `outputs`."""

    def canned(_subject: Subject, prompts: Any, max_new_tokens: int, batch_tokens: int) -> list[Written]:
        assert (max_new_tokens, batch_tokens, len(prompts)) == (8, 64, len(outputs))
        return [Written("prompt", output, [1]) for output in outputs]

    for module in ("extraction", "generation", "result"):
        monkeypatch.setattr(f"forgeline.evaluation.task_files.{module}.write_answers", canned)
    result = task.run(None, None, SCORING)
    return {name: score.value for name, score in result.scores.items()}, result.samples


def test_yes_no_and_maybe(tmp_path: Path) -> None:
    rows = [
        {"question": "Is it?", "contexts": ["One.", "Two."], "final_decision": "maybe"},
        {"question": "Was it?", "contexts": [], "final_decision": "no"},
    ]
    task = load_tasks(write(tmp_path, PUBMEDQA, *rows), ["mine"])["mine"]
    assert isinstance(task, ChoiceFromFile)
    assert [sample.prompt[0]["content"] for sample in task.questions] == ["One.\nTwo.\n\nIs it?", "\n\nWas it?"]
    assert [(sample.reference, sample.choices) for sample in task.questions] == [
        ("maybe", ["yes", "no", "maybe"]),
        ("no", ["yes", "no", "maybe"]),
    ]


def test_true_and_false_are_yes_and_no(tmp_path: Path) -> None:
    boolq = PUBMEDQA.replace("{contexts}\\n\\n", "").replace("final_decision", "answer").replace(", maybe", "")
    folder = write(tmp_path, boolq, {"question": "a?", "answer": True}, {"question": "b?", "answer": False})
    task = load_tasks(folder, ["mine"])["mine"]
    assert [sample.reference for sample in task.questions] == ["yes", "no"]


def test_labelled_choices(tmp_path: Path) -> None:
    rows = [
        {"id": "x1", "question": "q", "choices": {"text": ["ice", "fire"], "label": ["A", "B"]}, "answerKey": "B"},
        {
            "id": "x2",
            "question": "r",
            "choices": {"text": ["up", "down", "left"], "label": ["1", "2", "3"]},
            "answerKey": 0,
        },
    ]
    task = load_tasks(write(tmp_path, ARC, *rows), ["mine"])["mine"]
    assert [(sample.sample_id, sample.reference) for sample in task.questions] == [("x1", "fire"), ("x2", "up")]
    assert task.per_byte


def test_class_scores_are_those_of_the_confusion_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"question": f"{n}", "contexts": [], "final_decision": d} for n, d in enumerate(["yes", "yes", "no", "maybe"])
    ]
    task = load_tasks(write(tmp_path, PUBMEDQA, *rows), ["mine"])["mine"]
    chosen = iter(["yes", "no", "no", None])
    monkeypatch.setattr(
        "forgeline.evaluation.task_files.choice.choose",
        lambda _subject, questions, *_args, **_named: [Choice("p", [0.0], next(chosen)) for _ in questions],
    )
    scores = task.run(None, None, SCORING).scores
    assert scores["accuracy"].value == 0.5
    assert scores["accuracy"].baseline == 0.5  # yes, every time
    assert scores["balanced_accuracy"].value == pytest.approx((0.5 + 1 + 0) / 3)
    assert scores["macro_f1"].value == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


def test_extraction_counts_questions_with_and_without_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"context": "c", "question": "1", "answers": {"text": ["the red house", "house"]}},
        {"context": "c", "question": "2", "answers": {"text": []}},
        {"context": "c", "question": "3", "answers": {"text": []}},
    ]
    task = load_tasks(write(tmp_path, SQUAD, *rows), ["mine"])["mine"]
    scores, samples = scores_of(task, monkeypatch, ["A house.", "Unanswerable.", "Paris"])
    assert scores == pytest.approx(
        {
            "exact_match": 2 / 3,
            "f1": 2 / 3,
            "has_answer_exact_match": 1.0,
            "has_answer_f1": 1.0,
            "no_answer_exact_match": 0.5,
            "no_answer_f1": 0.5,
        }
    )
    assert [(row["parsed"], row["reference"], row["correct"]) for row in samples] == [
        ("A house.", "the red house", True),
        ("", "unanswerable", True),
        ("Paris", "unanswerable", False),
    ]


def test_broken_answers_are_flagged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = load_tasks(write(tmp_path, PROMPTS, {"question": "1"}, {"question": "2"}, {"question": "3"}), ["mine"])[
        "mine"
    ]
    written = {" ": [3], "round and round": [1, 2, 3, 4, 1, 2, 3, 4, 1], "A whole sentence.": [1, 2, 3, 4, 5, 6]}
    monkeypatch.setattr(
        "forgeline.evaluation.task_files.generation.write_answers",
        lambda *_given: [Written("prompt", output, ids) for output, ids in written.items()],
    )
    result = task.run(None, None, SCORING)
    assert [(row["parsed"], row["correct"]) for row in result.samples] == [
        ("empty", False),
        ("repetitive", False),
        ("sound", True),
    ]
    assert result.samples[1]["details"] == {"repeated_share": pytest.approx(2 / 6), "num_output_tokens": 9}
    assert {name: score.value for name, score in result.scores.items()} == pytest.approx(
        {"not_empty_rate": 2 / 3, "not_repetitive_rate": 2 / 3}
    )


def test_the_shipped_prompts_are_a_task() -> None:
    root = Path(__file__).parents[3]
    task = load_tasks(root / "tasks", ["smoke_prompts"])["smoke_prompts"]
    assert len(task) == 8
    params = (root / "presets" / "default.yaml").read_text(encoding="utf-8")
    assert "preference, smoke_prompts]" in params


def test_results_count_over_all_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"question": str(number), "answer": f"So it is {number},000.\n#### {number},000"} for number in (1, 2, 3)]
    task = load_tasks(write(tmp_path, GSM8K, *rows), ["mine"])["mine"]
    assert len(task) == 2  # max_samples
    scores, samples = scores_of(task, monkeypatch, [r"thus \boxed{1000}", "2000"])
    assert scores == {"accuracy": 0.5, "format_rate": 0.5}
    assert [row["correct"] for row in samples] == [True, False]


@pytest.mark.parametrize(
    ("definition", "row", "message"),
    [
        (
            PUBMEDQA,
            {"question": "q", "contexts": "c"},
            "rows.jsonl:1: no field 'final_decision'",
        ),
        (
            PUBMEDQA,
            {"question": "q", "contexts": "c", "final_decision": "sure"},
            "'sure' is none of yes, no, maybe",
        ),
        (PUBMEDQA, {"question": None, "contexts": "c", "final_decision": "no"}, "'question' holds neither text nor"),
        (ARC, {"question": "q", "choices": {"text": ["a"], "label": ["A"]}, "answerKey": "A"}, "at least two choices"),
        (
            ARC,
            {"question": "q", "choices": {"text": ["a", "b"], "label": ["A"]}, "answerKey": "A"},
            "1 labels for 2 cho",
        ),
        (
            ARC,
            {"question": "q", "choices": TWO, "answerKey": 2},
            "none of 2 choices",
        ),
        (
            ARC,
            {"question": " ", "choices": TWO, "answerKey": 1},
            "prompt is empty",
        ),
        (GSM8K, {"question": "q", "answer": "42"}, "answer_pattern finds nothing in 'answer'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, definition: str, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_tasks(write(tmp_path, definition, row), ["mine"])


def test_an_id_given_twice_is_an_error(tmp_path: Path) -> None:
    row = {"question": "q", "answer": "#### 1"}
    with pytest.raises(DataError, match=r"rows.jsonl:2: has the same id as .*rows.jsonl:1"):
        load_tasks(write(tmp_path, GSM8K, row, row), ["mine"])


def test_no_question_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, GSM8K)
    with pytest.raises(DataError, match="is empty"):
        load_tasks(tmp_path, ["mine"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("kind: result", "kind: guess"), "'guess'.*one of 'choice', 'extraction', 'result', 'generation', 'harness'"),
        (("tolerance: 0.0", "tolerance: 2.0"), "mine.yaml:7: .*tolerance.*2.0"),
        (('"#### (.+)"', '"#### .+"'), "needs one group"),
        (('"#### (.+)"', '"#### (.+"'), "no regular expression"),
        (("prompt: question", 'prompt: "{question"'), "not a template"),
        (("answer: answer\n", ""), "answer"),
        (
            ("data: rows.jsonl", "data: elsewhere.jsonl"),
            "elsewhere.jsonl does not exist: put it there",
        ),
    ],
)
def test_a_wrong_definition_is_found_before_anything_runs(
    tmp_path: Path, change: tuple[str, str], problem: str
) -> None:
    write(tmp_path, GSM8K.replace(*change), {"question": "q", "answer": "#### 1"})
    found = "\n".join(unreadable_definitions(tmp_path, ["mine"]))
    assert re.search(problem, found), found


def test_an_unknown_measure_lists_those_there_are(tmp_path: Path) -> None:
    write(tmp_path, PUBMEDQA.replace("compare: total", "compare: rouge"))
    assert (
        "compare: got 'rouge' (text), expected 'total' or 'per_byte'" in unreadable_definitions(tmp_path, ["mine"])[0]
    )


def test_the_documented_definitions_are_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    kinds = []
    for number, block in enumerate(blocks):
        (tmp_path / f"task-{number}.yaml").write_text(block, encoding="utf-8")
        kinds.append(read_definition(tmp_path, f"task-{number}").kind)
    assert kinds == ["choice", "extraction", "result", "generation", "harness"]


def test_an_unknown_task_lists_those_there_are(tmp_path: Path) -> None:
    write(tmp_path, GSM8K)
    with pytest.raises(
        ParamsError, match=r"unknown task 'other': write .*other.yaml \(there are perplexity, .*, mine\)"
    ):
        load_tasks(tmp_path, ["other"])
