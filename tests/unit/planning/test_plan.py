"""The plan as a whole: shares, passes, what earlier runs say, and what it warns of."""

import json
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.unit.model.shapes import DECODER
from tests.unit.model.test_families import FAMILIES, family

from forgeline.core.durations import note_duration
from forgeline.core.params import plain, read_yaml, write_yaml
from forgeline.model.params import ModelParams
from forgeline.planning.model_size import num_parameters
from forgeline.planning.plan import Plan, make_plan
from forgeline.planning.terminal import plan_view

REPOSITORY = Path.cwd()
DEFAULT = plain(read_yaml(Path("presets/default.yaml")))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose sources are `small` (1,000 documents of 400 bytes) and `large` (3,000 of them)."""
    (tmp_path / "dvc.yaml").write_bytes((REPOSITORY / "dvc.yaml").read_bytes())
    for name, number in (("small", 1_000), ("large", 3_000)):
        lines = [json.dumps({"text": f"{index:07d} " + "x" * 392}) + "\n" for index in range(number)]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def params(weights: dict[str, float] | None = None, **changed: dict[str, Any]) -> dict[str, Any]:
    """The default's, with the two sources, and a model that is quickly reckoned with."""
    values: dict[str, Any] = json.loads(json.dumps(DEFAULT))
    source = {**values["ingest"]["sources"]["hpo_terms"], "kind": "files", "text": "text"}
    values["ingest"]["sources"] = {
        name: {**source, "path": f"{name}.jsonl", "weight": (weights or {}).get(name, 1.0)}
        for name in ("small", "large")
    }
    values["curate"] |= {"validation_fraction": 0.1, "test_fraction": 0.1}
    values["tokenizer"]["vocab_size"] = 1000
    values["pack"]["sequence_length"] = 100
    values["pretrain"] |= {"num_steps": 500, "micro_batch_size": 2, "gradient_accumulation_steps": 4}
    for section, change in changed.items():
        values[section] |= change
    return values


def plan(values: dict[str, Any]) -> Plan:
    write_yaml(Path("params.yaml"), values)
    return make_plan(Path(), online=False)


def test_shares_and_passes(root: Path) -> None:
    found = plan(params({"small": 2.0, "large": 1.0}))
    small, large = found.sources
    assert (small.num_bytes, small.num_tokens, large.num_tokens) == (400_000, 100_000, 300_000)
    assert (small.natural_share, large.natural_share) == (0.25, 0.75)
    assert small.training_share == pytest.approx(2 / 3)
    training = found.training
    assert (training.tokens_per_step, training.num_tokens) == (800, 400_000)
    assert training.num_train_tokens == 320_000  # 8 of 10
    assert training.equivalent_epochs == pytest.approx(1.25)
    assert small.epochs == pytest.approx(400_000 * 2 / 3 / 80_000)
    assert large.epochs == pytest.approx(400_000 / 3 / 240_000)


def test_weights_of_two_and_one_are_two_thirds_and_one_third(root: Path) -> None:
    shares = [source.training_share for source in plan(params({"small": 2, "large": 1})).sources]
    assert [round(share, 3) for share in shares] == [0.667, 0.333]
    assert sum(shares) == pytest.approx(1)


def test_tokens_are_those_of_the_tokenizer_once_there_is_one(root: Path) -> None:
    Path("metrics").mkdir()
    Path("metrics/tokenizer.json").write_text('{"vocab_size": 1000, "bytes_per_token": 2.0}')
    assert plan(params()).sources[0].num_tokens == 200_000
    Path("metrics/tokenizer.json").write_text('{"vocab_size": 999, "bytes_per_token": 2.0}')
    assert plan(params()).sources[0].num_tokens == 100_000


def test_a_stage_that_has_run_is_scaled_by_its_work(root: Path) -> None:
    values = params()
    summary = {"records": {"in": 500, "out": 500, "dropped": {}}}
    before = params(pretrain={"num_steps": 250, "eval_every_steps": 250})
    Path(".dvc/tmp").mkdir(parents=True)
    note_duration(root, "pretrain", before, summary)
    note_duration(root, "clean@small", before, summary)
    for file, seconds in (("pretrain", 107.0), ("clean@small", 13.0)):
        path = Path(f".dvc/tmp/forgeline-durations/{file}.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": seconds}))
    costs = {cost.stage: cost for cost in plan(values).stages}
    assert {costs[name].basis for name in ("pretrain", "clean@small")} == {"measured here"}
    assert costs["clean@large"].basis == "typical"
    assert costs["pretrain"].seconds == pytest.approx(7 + 100 * 2, rel=0.15)  # 7 s to start, twice the steps
    assert costs["clean@small"].seconds == pytest.approx(3 + 10 * 2)  # twice the documents


def test_pretraining_takes_the_memory_of_its_step(root: Path) -> None:
    found = plan(params())
    memory = found.training.step_memory
    assert memory is not None
    assert memory.weights == pytest.approx(4 * found.training.num_parameters, rel=1e-3)
    (pretrain,) = [cost for cost in found.stages if cost.stage == "pretrain"]
    libraries = 420e6
    assert pretrain.memory_bytes == libraries + memory.peak
    wider = plan(params(pretrain={"micro_batch_size": 8})).training.step_memory
    assert wider is not None
    assert wider.activations > 3 * memory.activations


@pytest.mark.parametrize("kind", ["decoder", "qwen3", "mixtral"])
def test_every_kind_of_model_is_reckoned_with(root: Path, kind: str) -> None:
    values = params()
    values["model"] = DECODER if kind == "decoder" else family(kind, **FAMILIES[kind]).model_dump()
    values["pack"]["sequence_length"] = values["evaluate"]["scoring"]["window_tokens"] = 32
    found = plan(values)
    architecture = ModelParams.model_validate(values["model"]).root
    assert found.training.num_parameters == num_parameters(architecture, 1000)
    assert (found.training.step_memory is None) == (kind == "mixtral")
    text = StringIO()
    Console(file=text, width=80).print(plan_view(found))
    assert re.search(
        r"memory of a step +\?" if kind == "mixtral" else r"memory of a step +[\d.]+ [MG]B: ", text.getvalue()
    )


def test_a_note_of_other_times_is_passed_over(root: Path) -> None:
    folder = Path(".dvc/tmp/forgeline-durations")
    folder.mkdir(parents=True)
    (folder / "pretrain.json").write_text('{"seconds": 5.0, "peak_memory_bytes": 1, "params": {}, "summary": {}}')
    (folder / "sft.json").write_text("{")
    assert {cost.basis for cost in plan(params()).stages} == {"typical"}


@pytest.mark.parametrize(
    ("changed", "warning"),
    [
        ({"pretrain": {"num_steps": 5_000}}, r"pretraining reads small 25\.0 times"),
        ({"tokenizer": {"vocab_size": 8_000}}, r"vocab_size 8,000 is large for 400,000 tokens.*lower it to 4,000"),
        ({"model": {"hidden_size": 120_000, "intermediate_size": 480_000}}, "GB of disk and .* are free"),
        ({"model": {"hidden_size": 120_000, "intermediate_size": 480_000}}, "GB of memory and this machine has"),
    ],
)
def test_warnings(root: Path, changed: dict[str, dict[str, Any]], warning: str) -> None:
    assert plan(params()).warnings == []
    found = plan(params(**changed))
    assert [line for line in found.warnings if re.search(warning, line)]


def test_warnings_about_sources(root: Path) -> None:
    values = params()
    values["ingest"]["sources"]["small"]["max_documents"] = 2_000
    values["ingest"]["sources"]["large"]["path"] = "nowhere.jsonl"
    less, missing = plan(values).warnings
    assert "small holds less than it may give (max_documents 2,000): about 1,000 documents" in less
    assert "ingest.sources.large cannot be read: nowhere.jsonl does not exist" in missing


def test_it_is_shown_at_80_characters_and_as_json(root: Path) -> None:
    found = plan(params())
    text = StringIO()
    Console(file=text, width=80).print(plan_view(found))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[:3] for line in lines if line.startswith("large")] == [["large", "3,000", "1.2"]]
    assert json.loads(json.dumps(found.as_json()))["training"]["num_tokens"] == 400_000
    assert [cost.stage for cost in found.stages][:2] == ["ingest@small", "ingest@large"]


def test_it_needs_no_torch() -> None:
    modules = "forgeline.planning.plan, forgeline.planning.terminal"
    code = f"import sys, {modules}; print({{'torch', 'transformers', 'numba', 'datasets'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
