"""Every model folder says by itself what it is: tokenizer, chat template, generation settings, lineage."""

import hashlib
import json
from pathlib import Path

import pytest

from forgeline.core.storage import sha256_path
from tests.clone import Clone
from tests.pipeline.outputs import EVALUATED

pytestmark = pytest.mark.slow

ADAPTERS = ("dpo_adapter", "grpo_adapter")
ALL = (*EVALUATED, *ADAPTERS, "reward")


def test_there_are_no_others(smoke: Clone) -> None:
    assert {path.name for path in (smoke.root / "models").iterdir()} == {*ALL, "tokenizer"}


@pytest.mark.parametrize("name", ALL)
def test_it_carries_the_one_tokenizer_and_its_template(smoke: Clone, name: str) -> None:
    for file in ("tokenizer.json", "chat_template.jinja"):
        ours, original = ((smoke.root / "models" / folder / file).read_bytes() for folder in (name, "tokenizer"))
        assert hashlib.sha256(ours).hexdigest() == hashlib.sha256(original).hexdigest()


@pytest.mark.parametrize("name", EVALUATED)
def test_generation_stops_at_the_end_of_a_turn(smoke: Clone, name: str) -> None:
    settings = json.loads((smoke.root / "models" / name / "generation_config.json").read_text())
    stops = 3 if name in ("base", "sft") else [0, 3]  # merging adds the end of a document
    assert (settings["bos_token_id"], settings["eos_token_id"], settings["pad_token_id"]) == (0, stops, 1)


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_names_its_parent(smoke: Clone, name: str) -> None:
    settings = json.loads((smoke.root / "models" / name / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "models/sft"


@pytest.mark.parametrize("name", ALL)
def test_lineage_names_the_inputs_by_their_content(smoke: Clone, name: str) -> None:
    lineage = json.loads((smoke.root / "models" / name / "lineage.json").read_text())
    entry = smoke.lock()[lineage["stage"]]
    assert f"models/{name}" in [out["path"] for out in entry["outs"]]
    inputs = {dep["path"] for dep in entry["deps"] if not dep["path"].startswith(("src/", "stages/"))}
    assert set(lineage["inputs"]) == inputs
    for path, digest in lineage["inputs"].items():
        assert digest == sha256_path(smoke.root / path), path
        if (smoke.root / path).is_file():
            assert digest == hashlib.sha256((smoke.root / path).read_bytes()).hexdigest()
    assert lineage["tokenizer"] == smoke.metrics("tokenizer")["fingerprint"]


@pytest.mark.parametrize("name", ALL)
def test_lineage_names_the_parameters_of_the_run(smoke: Clone, name: str) -> None:
    lineage = json.loads((smoke.root / "models" / name / "lineage.json").read_text())
    locked = smoke.lock()[lineage["stage"]]["params"]["params.yaml"]
    assert lineage["params"] == locked


@pytest.mark.parametrize("name", ALL)
def test_no_absolute_path_or_time_gets_in(smoke: Clone, name: str) -> None:
    for file in Path(smoke.root / "models" / name).glob("*.json"):
        text = file.read_text(encoding="utf-8")
        assert str(smoke.root) not in text
        assert "/home/" not in text
        assert "/tmp/" not in text
