import json
from typing import Any

import pytest

from forgeline.quantization.spec import parse
from forgeline.reporting.names import full_name, name_rows

TAG = "GPTQ_w4_g64_headbf16_cald81bc49aba28_seed17"
METRICS = {"metrics/pretrain.json": {"num_parameters": 2_557_632}, "metrics/quantize/int4.json": {"tag": TAG}}


def read(path: str) -> str | None:
    return json.dumps(METRICS[path]) if path in METRICS else None


def stage(deps: str, outs: str, **params: Any) -> dict[str, Any]:
    return {
        "deps": [{"path": path} for path in deps.split()],
        "outs": [{"path": path} for path in outs.split()],
        "params": {"params.yaml": {name.replace("__", "."): value for name, value in params.items()}},
    }


def locked(init_from: str | None = None, peft: str = "none") -> dict[str, Any]:
    return {
        "ingest@hpo_terms": stage("", "data/ingest/terms"),
        "ingest@notes": stage("", "data/ingest/notes"),
        "pack": stage("data/ingest/terms data/ingest/notes", "data/pack"),
        "pretrain": stage("data/pack", "models/base", pretrain={"init_from": init_from, "peft": "none"},
                          model={"kind": "llama"}),
        "instructions": stage("", "data/instructions", instructions={"sets": {"hpo": {}, "my set": {}}}),
        "preferences": stage("", "data/preferences", preferences={"sets": {"hpo": {}, "ultra-feedback": {}}}),
        "sft": stage("data/instructions models/base", "models/sft", sft={"peft": {"kind": peft}}),
        "align@better": stage("data/preferences models/sft", "models/better_adapter",
                              align__better={"method": "orpo", "lora": {"r": 4}}),
        "merge@better": stage("data/pack models/better_adapter models/sft", "models/better"),
        "quantize@int4": stage("models/better data/pack", "models/int4", quantize__int4={"method": "gptq"}),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("base", "llama.2.6M-hpo.terms+notes_pretrain_full"),
        ("sft", "llama.2.6M-hpo+my.set_sft_full"),
        ("better_adapter", "llama.2.6M-hpo+my.set+ultra.feedback_orpo_lora"),
        ("better", "llama.2.6M-hpo+my.set+ultra.feedback_orpo_lora"),
        ("int4", f"llama.2.6M-hpo+my.set+ultra.feedback_orpo_lora_{TAG}"),
        ("unknown", "unknown"),
    ],
)
def test_a_name_says_base_data_method_and_what_was_trained(model: str, name: str) -> None:
    assert full_name(model, locked(), read) == name


def test_the_fields_can_be_taken_apart_again() -> None:
    before, method, peft, tag = full_name("int4", locked(), read).split("_", 3)
    assert before.split("-") == ["llama.2.6M", "hpo+my.set+ultra.feedback"]
    assert (method, peft) == ("orpo", "lora")
    assert parse(tag).tag == TAG


def test_a_model_that_training_started_from_is_the_base() -> None:
    name = full_name("sft", locked("HuggingFaceTB/SmolLM2-135M_x", "qlora"), read)
    assert name == "SmolLM2.135M.x-hpo+my.set_sft_qlora"


def test_without_metrics_the_number_of_parameters_is_left_out() -> None:
    assert full_name("int4", locked(), lambda _: None) == "llama-hpo+my.set+ultra.feedback_orpo_lora_int4"


def test_rows_of_the_leaderboard_get_theirs() -> None:
    [row] = name_rows([{"model": "sft", "scores": {}}], locked(), read)
    assert row == {"model": "sft", "scores": {}, "full_name": "llama.2.6M-hpo+my.set_sft_full"}
