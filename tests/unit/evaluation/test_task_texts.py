"""Questions of task files are kept out of the corpus: what is read of them, and which documents `curate` drops."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.records import EvalSample, PreferencePair, documents_table, write_records
from forgeline.evaluation.task_files.load import load_tasks
from forgeline.evaluation.task_texts import Asking, task_texts
from forgeline.text.curate import CurateOutputs, CurateParams, CurateResult, curate, source_shards
from forgeline.text.minhash import MinHashParams

CHOICE = """\
kind: choice
data: {name}.jsonl
prompt: "{{question}}"
max_samples: null
choices: options
labels: null
answer: right
compare: total
"""
GENERATION = """\
kind: generation
data: {name}.jsonl
prompt: prompt
max_samples: null
max_repeated_share: 0.3
max_new_tokens: 8
"""
EXTRACTION = """\
kind: extraction
data: {name}.jsonl
prompt: "{{context}} {{question}}"
max_samples: 1
answers: answers
no_answer: none
max_new_tokens: 8
"""
HARNESS = "kind: harness\ntask: arc_easy\ndefinitions: null\nnum_fewshot: null\nmax_samples: null\n"
QUESTION = "Which of the four chambers of the human heart pumps blood into the aorta of an adult?"
ANSWER = "The left ventricle, whose wall is much thicker than that of the right one because pressure is higher"
MINHASH = MinHashParams(
    enabled=False, seed=17, num_permutations=112, num_bands=14, shingle_unit="words", shingle_size=5, threshold=0.8
)
CURATE = CurateParams(
    memory_megabytes=64, exact=True, minhash=MINHASH, decontaminate_words=13, validation_fraction=0.1, test_fraction=0.1
)
FOLDERS = ("train", "validation", "test", "dropped")


def write_task(folder: Path, name: str, definition: str, *rows: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yaml").write_text(definition.format(name=name), encoding="utf-8")
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_source(root: Path, source: str, *texts: str) -> None:
    shard = root / "clean" / source / "documents.parquet" / "00000.parquet"
    shard.parent.mkdir(parents=True)
    pq.write_table(documents_table(texts, source), shard)


def curated(root: Path, tasks: Path, *texts: str) -> tuple[CurateResult, dict[str, tuple[str, str]]]:
    """The result, and by text of a dropped document why it left."""
    write_source(root, "notes", *texts)
    outputs = CurateOutputs(
        {name: root / name for name in FOLDERS}, {name: name for name in FOLDERS}, root / "clusters", root / "manifest"
    )
    shards = source_shards(root / "clean", ["notes"])
    result = curate(shards, [task_texts(tasks).evaluation_set()], CURATE, outputs, root)
    dropped = pq.read_table(root / "dropped").to_pylist()
    return result, {row["text"]: (row["reason"], row["detail"]) for row in dropped}


def test_documents_with_a_question_or_its_right_answer_leave_and_name_task_and_line(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    wrong = "A wrong choice of many words that a document of the corpus is free to say as it pleases"
    rows = [
        {"id": "ä-1", "question": QUESTION, "options": [ANSWER, wrong], "right": 0},
        {"id": 2, "question": "Is it so?", "options": ["yes", "no"], "right": "no"},
    ]
    write_task(tasks, "heart", CHOICE, *rows)
    asks, answers = f"A quiz asks: {QUESTION.upper()} Think well.", f"We know: {ANSWER}."
    result, dropped = curated(tmp_path, tasks, asks, answers, f"It said: {wrong}.", "Is it so? No.", QUESTION[:40])
    assert dropped == {asks: ("contaminated", "heart/ä-1"), answers: ("contaminated", "heart/ä-1")}
    assert result.figures["contaminated"] == {"tasks": {"heart": 2}}
    assert result.figures["too_short"] == {"tasks": {"heart": 2}}  # the second question and its answer


def test_prompts_that_are_all_short_are_no_error(tmp_path: Path) -> None:
    write_task(tmp_path / "tasks", "smoke", GENERATION, {"prompt": "The heart"}, {"prompt": "Tell me a joke."})
    result, dropped = curated(tmp_path, tmp_path / "tasks", "The heart beats.", "Tell me a joke.")
    assert dropped == {}
    assert result.figures["contaminated"] == {"tasks": {"smoke": 0}}
    assert result.figures["too_short"] == {"tasks": {"smoke": 2}}


def test_texts_are_those_that_models_are_asked(tmp_path: Path) -> None:
    row = {"id": "a", "context": "It beats.", "question": "What?", "answers": ["the heart", "a heart"]}
    write_task(tmp_path, "beats", EXTRACTION, row, {**row, "id": "beyond max_samples"})
    (tmp_path / "arc.yaml").write_text(HARNESS)
    found = task_texts(tmp_path)
    assert found.texts == [
        Asking("beats", "a", "prompts", "It beats. What?"),
        Asking("beats", "a", "answers", "the heart"),
    ]
    assert found.unchecked == ["arc"]


def test_the_words_of_a_template_do_not_hide_a_short_question(tmp_path: Path) -> None:
    """Nine words are searched as a whole; with those around them there would be runs of 13 that no document has."""
    template = '"{{{{Read}}}} this and say: {{prompt}} Answer with {{{{one}}}} word."'
    question = "Which chamber of the heart pumps into the aorta?"
    definition = GENERATION.replace("prompt: prompt", f"prompt: {template}")
    write_task(tmp_path / "tasks", "short", definition, {"id": 1, "prompt": question})
    assert [entry.text for entry in task_texts(tmp_path / "tasks").texts] == [question]
    document = f"We were asked: {question} Nobody knew."
    _, dropped = curated(tmp_path, tmp_path / "tasks", document, "The heart beats.")
    assert dropped == {document: ("contaminated", "short/1")}


def test_without_a_folder_there_is_nothing_to_keep_out(tmp_path: Path) -> None:
    found = task_texts(tmp_path / "none")
    assert (list(found.texts), list(found.unchecked)) == ([], [])


@pytest.mark.parametrize(
    ("definition", "row"),
    [(GENERATION.replace("0.3", "3"), {"prompt": "a"}), (GENERATION, {"text": "a"}), ("kind: quiz\n", {})],
    ids=["knob", "field", "kind"],
)
def test_a_broken_task_file_has_the_message_of_evaluate(tmp_path: Path, definition: str, row: dict[str, Any]) -> None:
    write_task(tmp_path, "mine", definition, row)
    with pytest.raises((DataError, ParamsError)) as expected:
        load_tasks(tmp_path, ["mine"])
    with pytest.raises(type(expected.value)) as found:
        task_texts(tmp_path)
    assert str(found.value) == str(expected.value)
    assert "mine." in str(found.value)


ARGUMENTS = """--documents clean --questions instructions/test.parquet --preferences preferences/test.parquet
--tasks tasks --train curate/train.parquet --validation curate/validation.parquet --test curate/test.parquet
--dropped curate/dropped.parquet --clusters curate/clusters.parquet --manifest curate/manifest.json
--metrics metrics/curate.json"""


def run_stage(root: Path) -> subprocess.CompletedProcess[str]:
    repository = Path(__file__).resolve().parents[3]
    path = os.pathsep.join([str(repository / "src"), str(repository)])
    return subprocess.run(
        [sys.executable, "-m", "stages.curate", *ARGUMENTS.split()],
        cwd=root, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_command_reads_the_folder_and_writes_nothing_if_a_task_is_broken(tmp_path: Path) -> None:
    given_away = f"A quiz asks: {QUESTION}"
    write_source(tmp_path, "hpo_terms", given_away, "The heart beats.")
    write_source(tmp_path, "hpo_diseases")
    said = [{"role": "user", "content": "one two three four five six seven"}]
    for name in ("instructions", "preferences"):
        (tmp_path / name).mkdir()
    write_records(tmp_path / "instructions/test.parquet", EvalSample, [EvalSample.make("is_a", "k", said, "Yes.")])
    pair = PreferencePair.make("set", "is_a", "k", said, "a", "b")
    write_records(tmp_path / "preferences/test.parquet", PreferencePair, [pair])
    (tmp_path / "params.yaml").write_bytes(Path("presets/smoke.yaml").read_bytes())
    shutil.copy("dvc.yaml", tmp_path)
    shutil.copytree("tasks", tmp_path / "tasks")
    write_task(tmp_path / "tasks", "mine", GENERATION, {"prompt": QUESTION})
    (tmp_path / "tasks" / "arc.yaml").write_text(HARNESS)
    done = run_stage(tmp_path)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "metrics" / "curate.json").read_text())
    assert (metrics["contaminated"]["tasks"], metrics["unchecked"]) == ({"mine": 1, "smoke_prompts": 0}, ["arc"])
    [dropped] = pq.read_table(tmp_path / "curate" / "dropped.parquet").to_pylist()
    assert (dropped["text"], dropped["detail"].split("/")[0]) == (given_away, "mine")

    shutil.rmtree(tmp_path / "curate")
    write_task(tmp_path / "tasks", "mine", GENERATION, {"text": QUESTION})
    failed = run_stage(tmp_path)
    assert failed.returncode == 1
    assert "tasks/mine.jsonl:1: no field 'prompt' (its fields: text): correct it" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not list((tmp_path / "curate").glob("*.parquet"))
