"""lm-eval's harness and our own tasks on the same questions and model: the same verdict on every sample."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import byte_bpe_params, shards_of
from transformers import LlamaConfig, LlamaForCausalLM

from forgeline.core.errors import DataError, ParamsError
from forgeline.evaluation.params import ScoringParams
from forgeline.evaluation.task_files.definition import unreadable_definitions
from forgeline.evaluation.task_files.load import load_tasks
from forgeline.evaluation.tasks.base import HeldOut, NgramBaseline, Subject
from forgeline.evaluation.work import Journal
from forgeline.tokenization.byte_bpe import train_byte_bpe

pytest.importorskip("lm_eval")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SCORING = ScoringParams(
    tasks=["mine"], max_documents=1, window_tokens=8, batch_tokens=400, max_new_tokens=4, num_bootstrap=100, seed=1
)
NOTHING = HeldOut([], [], [], NgramBaseline(3, 2.0))
NUM_QUESTIONS = 24

OWN_CHOICE = """\
kind: choice
data: rows.jsonl
prompt: question
max_samples: null
choices: choices
labels: null
answer: answer
compare: total
"""
OWN_WRITTEN = """\
kind: extraction
data: written.jsonl
prompt: question
max_samples: null
answers: answer
no_answer: none
max_new_tokens: 6
"""
# The answer follows the template at once and ends with the end of the turn, as in the chats that models learn from.
THEIR_CHOICE = """\
task: their_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/ended.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: answer
doc_to_choice: ended
target_delimiter: ""
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
THEIR_WRITTEN = """\
task: their_written
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/written.jsonl}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: ""
generation_kwargs: {{until: ["<|im_end|>"], do_sample: false, max_gen_toks: 6}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true, ignore_punctuation: true}}
"""
BRIDGE = "kind: harness\ntask: {task}\ndefinitions: theirs\nnum_fewshot: null\nmax_samples: {most}\n"


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    texts = ["Seizures are events of the nervous system.", "A cleft palate is an opening.", "Yes. No. Maybe so."]
    tokenizer = train_byte_bpe(shards_of(tmp_path_factory.mktemp("texts"), texts * 3), byte_bpe_params(300, 2))
    torch.manual_seed(4)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=256, initializer_range=0.4, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return Subject(LlamaForCausalLM(config).eval(), tokenizer)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [
        {
            "id": f"q{number}",
            "question": f"Is case {number} a seizure of the {'left' if number % 3 else 'right'} side?",
            "choices": ["Yes.", "No, it is not.", "Maybe so.", "A palate."][: 2 + number % 3],
            "answer": number % 2,
        }
        for number in range(NUM_QUESTIONS)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "theirs").mkdir()
    ended = [row | {"ended": [f"{choice}<|im_end|>" for choice in row["choices"]]} for row in rows]
    (tmp_path / "ended.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ended))
    (tmp_path / "theirs" / "choice.yaml").write_text(THEIR_CHOICE.format(folder=tmp_path))
    (tmp_path / "own_choice.yaml").write_text(OWN_CHOICE)
    (tmp_path / "own_written.yaml").write_text(OWN_WRITTEN)
    (tmp_path / "bridge_choice.yaml").write_text(BRIDGE.format(task="their_choice", most="null"))
    return tmp_path


def run(folder: Path, name: str, subject: Subject) -> Any:
    return load_tasks(folder, [name])[name].run(subject, NOTHING, SCORING)


def test_choices_agree_to_the_sample(folder: Path, subject: Subject) -> None:
    own, theirs = (run(folder, name, subject) for name in ("own_choice", "bridge_choice"))
    assert [row["correct"] for row in own.samples] == [row["correct"] for row in theirs.samples]
    assert 0 < sum(row["correct"] for row in own.samples) < NUM_QUESTIONS
    for ours, peer in zip(own.samples, theirs.samples, strict=True):
        assert ours["prompt"] == peer["prompt"]
        assert f"{ours['output']}<|im_end|>" == peer["output"]
        spread = [logp - ours["details"]["logps"][0] for logp in ours["details"]["logps"]]
        # lm-eval counts the line feed that ends the prompt to the answer, the same for all choices.
        assert [logp - peer["details"]["logps"][0] for logp in peer["details"]["logps"]] == pytest.approx(
            spread, abs=1e-3
        )
    accuracy = own.scores["accuracy"]
    assert theirs.scores["acc"] == accuracy
    assert (accuracy.baseline_name, accuracy.n) == ("chance", NUM_QUESTIONS)


def test_written_answers_agree_to_the_sample(folder: Path, subject: Subject) -> None:
    rows = [{"id": f"w{number}", "question": f"What is {number}?", "answer": "unknown"} for number in range(8)]
    (folder / "written.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first = run(folder, "own_written", subject)
    for row, written in list(zip(rows, first.samples, strict=True))[::2]:
        row["answer"] = written["output"].strip() or "none"
    (folder / "written.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "theirs" / "written.yaml").write_text(THEIR_WRITTEN.format(folder=folder))
    (folder / "bridge_written.yaml").write_text(BRIDGE.format(task="their_written", most="null"))
    own, theirs = (run(folder, name, subject) for name in ("own_written", "bridge_written"))
    assert [row["output"].strip() for row in own.samples] == [row["output"].strip() for row in theirs.samples]
    assert [row["correct"] for row in own.samples] == [row["correct"] for row in theirs.samples]
    assert theirs.scores["exact_match"].value == own.scores["exact_match"].value == 0.5


def test_a_killed_evaluation_asks_the_harness_for_the_rest_alone(folder: Path, subject: Subject) -> None:
    task = load_tasks(folder, ["bridge_choice"])["bridge_choice"]
    scratch = folder / "scratch"
    scratch.mkdir()
    whole = task.run(Subject(subject.model, subject.tokenizer, Journal(scratch).of("mine")), NOTHING, SCORING)
    (journal,) = scratch.iterdir()
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:2]) + lines[2][:20])
    passes: list[int] = []
    handle = subject.model.register_forward_hook(lambda *_: passes.append(1))
    again = load_tasks(folder, ["bridge_choice"])["bridge_choice"]
    rest = again.run(Subject(subject.model, subject.tokenizer, Journal(scratch).of("mine")), NOTHING, SCORING)
    handle.remove()
    assert rest == whole
    assert len(passes) == len(lines) - 2 > 0
    assert journal.read_text().count("\n") == len(lines)


def test_the_first_so_many(folder: Path, subject: Subject) -> None:
    (folder / "bridge_choice.yaml").write_text(BRIDGE.format(task="their_choice", most="5"))
    task = load_tasks(folder, ["bridge_choice"])["bridge_choice"]
    assert len(task) == 5
    assert task.run(subject, NOTHING, SCORING).scores["acc"].n == 5
    assert "their_choice" in task.method


def test_logits_that_are_no_numbers_are_never_scored(folder: Path, subject: Subject) -> None:
    weight = subject.model.model.norm.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(torch.inf)
    with pytest.raises(DataError, match="logits are not numbers"):
        run(folder, "bridge_choice", subject)
    with torch.no_grad():
        weight.copy_(before)


def test_an_unknown_task_lists_those_spelled_alike(folder: Path) -> None:
    (folder / "bridge_choice.yaml").write_text(BRIDGE.format(task="their_choise", most="null"))
    with pytest.raises(ParamsError, match=r"bridge_choice.yaml: lm-eval has no task 'their_choise': .*their_choice"):
        load_tasks(folder, ["bridge_choice"])


def test_data_that_are_not_there(folder: Path) -> None:
    (folder / "ended.jsonl").unlink()
    with pytest.raises(DataError, match="lm-eval cannot load task 'their_choice'"):
        load_tasks(folder, ["bridge_choice"])


def test_definitions_that_are_not_there(folder: Path) -> None:
    (folder / "bridge_choice.yaml").write_text(BRIDGE.format(task="x", most="null").replace("theirs", "elsewhere"))
    (problem,) = unreadable_definitions(folder, ["bridge_choice"])
    assert "elsewhere does not exist: put it there or correct `definitions`" in problem
