"""The whole way: a model folder, its calibration and its gates, to a folder that transformers loads."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.unit.quantization.test_spec import GATE
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.records import Conversation
from forgeline.core.storage import sha256_path, write_json
from forgeline.evaluation.latency import measure
from forgeline.packing.dataset import MANIFEST, TokenDataset
from forgeline.quantization import libraries
from forgeline.quantization.gate import answer_rates, boxed_questions
from forgeline.quantization.params import QuantizeParams
from forgeline.quantization.pipeline import quantize_and_save
from forgeline.quantization.spec import METHODS, parse

WINDOW = 32
GRID = {"bits": 4, "group_size": 16, "symmetric": True, "kv_bits": None}
KNOBS = {
    "rtn": GRID,
    "gptq": {**GRID, "calibration_windows": 6},
    "awq": {**GRID, "symmetric": False, "calibration_windows": 6},
    "hqq": {**GRID, "symmetric": False},
    "smoothquant": {"alpha": 0.5, "calibration_windows": 6, "kv_bits": None},
}
LOOSE = {
    **GATE,
    "questions": 3,
    "max_bits_per_byte_increase": 9.0,
    "max_accuracy_drop": 1.0,
    "max_format_rate_drop": 1.0,
}
CPU = torch.device("cpu")


def section(method: str, **changed):
    values = {
        "method": method,
        "model": "base",
        "head_dtype": "bf16",
        "seed": 1,
        "gate": LOOSE,
        **KNOBS.get(method, {}),
    }
    return QuantizeParams.model_validate({**values, **changed}).root


def conversation(question: str, answer: str) -> Conversation:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Conversation.make("toy", "box", question, turns)


QUESTIONS = [conversation(f"What has {name}?", f"It is \\boxed{{{name}}}.") for name in ("Ann", "Ben", "Cleo", "Dan")]


@pytest.fixture(scope="module")
def model_folder(tokenizer, tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model"), tokenizer, 32)


@pytest.fixture(scope="module")
def wide_folder(tokenizer, tmp_path_factory) -> Path:
    """Of a model whose layers groups of 128 divide."""
    return make_folder(tmp_path_factory.mktemp("wide"), tokenizer, 256)


def make_folder(folder: Path, tokenizer, size: int) -> Path:
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=size, intermediate_size=size * 3 // 2, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=64, initializer_range=0.15, pad_token_id=1, eos_token_id=3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def packed(tokenizer, texts, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pack")
    text = " ".join(texts)
    ids = tokenizer.encode(text, add_special_tokens=False)
    values = {"sequence_length": WINDOW, "dtype": "uint16", "tokenizer": "x", "weights": {"toy": 1.0}}
    for split in ("train", "validation"):
        np.array(ids, dtype=np.uint16).tofile(folder / f"{split}.bin")
        source = {"first_token": 1, "num_tokens": len(ids) - 1, "num_documents": 1, "num_bytes": len(text)}
        digest = sha256_path(folder / f"{split}.bin")
        values[split] = {
            **source, "num_windows": (len(ids) - 1) // WINDOW, "sha256": digest, "sources": {"toy": source},
        }  # fmt: skip
    write_json(folder / MANIFEST, values)
    return folder


def run(model_folder: Path, packed: Path, params, target: Path):
    splits = [TokenDataset(packed, split) for split in ("train", "validation")]
    return quantize_and_save(model_folder, CPU, *splits, QUESTIONS, params, "x", target)


@pytest.mark.parametrize("method", sorted(KNOBS))
def test_every_method_of_ours(method, model_folder, packed, tmp_path, tokenizer) -> None:
    figures = run(model_folder, packed, section(method), tmp_path).figures
    spec = parse(figures["tag"])
    assert (spec.method, spec.bits) == (method, 8 if method == "smoothquant" else 4)
    calibrated = method in ("gptq", "awq", "smoothquant")
    assert (figures["calibration_sha256"] or "")[:12] == (spec.calibration or "")
    assert (spec.seed == 1) == calibrated
    overhead = {"rtn": 1, "gptq": 1, "awq": 1.25, "hqq": 1.25, "smoothquant": 16 / 32}[method]  # scales in 16 bits
    shapes = 2 * 7 * 128 / figures["num_quantized_weights"] if method != "smoothquant" else 0
    assert figures["bits_per_quantized_weight"] == pytest.approx(spec.bits + overhead + shapes, rel=0.06)
    assert figures["size_bytes"] == (tmp_path / "model.safetensors").stat().st_size
    assert 0 <= figures["validation_format_rate"]["after"] <= 1
    assert figures["num_gate_questions"] == 3
    loaded = AutoModelForCausalLM.from_pretrained(str(tmp_path), dtype=torch.float32).eval()
    workload = SimpleNamespace(num_repeats=1, max_new_tokens=3)
    assert measure(loaded, [[5, 6, 7]], workload)["peak_memory_bytes"] > 2**20


def test_a_gate_that_fails_says_by_how_much(model_folder, packed, tmp_path) -> None:
    strict = {**LOOSE, "max_bits_per_byte_increase": 0.0}
    message = (
        r"quantizing costs 0\.\d+ bits per byte .* more than quantize.x.gate.max_bits_per_byte_increase 0.0 allows"
    )
    with pytest.raises(DataError, match=message):
        run(model_folder, packed, section("gptq", gate=strict), tmp_path)


def test_rates_of_answers_are_counted_by_hand(tokenizer, monkeypatch) -> None:
    outputs = ["It is \\boxed{Ann}.", "It is \\boxed{Dan}.", "no box"]
    written = [SimpleNamespace(output_ids=tokenizer.encode(text, add_special_tokens=False)) for text in outputs]
    monkeypatch.setattr("forgeline.quantization.gate.generate", lambda *_, **__: written)
    questions = boxed_questions(QUESTIONS, section("rtn"), "x")
    asked = [question.answer for question in questions]
    expected = sum(answer == given for answer, given in zip(asked, ("Ann", "Dan", None), strict=True)) / 3
    rates = answer_rates(None, tokenizer, questions, 8)
    assert rates == {"accuracy": expected, "format_rate": 2 / 3}
    assert len(set(asked)) == 3
    assert boxed_questions(QUESTIONS, section("rtn"), "x") == questions


def test_questions_without_boxes_are_refused() -> None:
    with pytest.raises(
        ParamsError, match=r"quantize.x.gate.questions 3: no validation conversation has a boxed answer"
    ):
        boxed_questions([conversation("Who?", "Ann.")], section("rtn"), "x")


def test_a_corrupted_weight_file_is_refused(model_folder, packed, tmp_path) -> None:
    for file in model_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    tensors = load_file(weights)
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"the weights model.norm.weight hold NaN or infinity"):
        run(tmp_path, packed, section("rtn"), tmp_path / "out")
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"cannot be loaded .*the files are damaged"):
        run(tmp_path, packed, section("rtn"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", [name for name in METHODS if "_" in name])
def test_a_missing_library_says_how_to_install_it(method, monkeypatch) -> None:
    monkeypatch.setattr(libraries.importlib.util, "find_spec", lambda _: None)
    spec = parse(f"{method.upper().replace('_', '-')}_w4_g64_headbf16")
    with pytest.raises(
        ParamsError, match=rf"method {method} needs the package {method.split('_')[0]}, .*pip install -e"
    ):
        libraries.library_config(spec)


@pytest.mark.parametrize(("method", "size"), [("bitsandbytes_nf4", 64), ("torchao_int4", 128)])
def test_fixed_groups_that_do_not_divide_name_the_layer(method, size, model_folder, packed, tmp_path) -> None:
    knobs = {"group_size": size} if method == "torchao_int4" else {}
    with pytest.raises(
        ParamsError, match=rf"group_size {size} of {method} .* 32 of layer model.layers.0.self_attn.q_proj"
    ):
        run(model_folder, packed, section(method, **knobs), tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the libraries', at import and on a CPU
@pytest.mark.parametrize("method", ["bitsandbytes_int8", "bitsandbytes_nf4", "torchao_int8"])
def test_methods_of_libraries(method, wide_folder, packed, tmp_path) -> None:
    if importlib.util.find_spec(method.partition("_")[0]) is None:
        pytest.skip("needs the extra `quantization`")
    figures = run(wide_folder, packed, section(method), tmp_path).figures
    bits = parse(figures["tag"]).bits
    assert bits < figures["bits_per_quantized_weight"] < bits + 0.5
    assert figures["size_bytes"] < (wide_folder / "model.safetensors").stat().st_size
    assert figures["validation_bits_per_byte"]["after"] != figures["validation_bits_per_byte"]["before"]
    loaded = AutoModelForCausalLM.from_pretrained(str(tmp_path)).eval()
    workload = SimpleNamespace(num_repeats=1, max_new_tokens=3)
    assert measure(loaded, [[5, 6, 7]], workload)["tokens_per_second"] > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_this_machine_cannot_run_is_found_out(wide_folder, packed, tmp_path) -> None:
    if importlib.util.find_spec("torchao") is None or torch.cuda.is_available():
        pytest.skip("needs the extra `quantization` and a machine without GPU")
    with pytest.raises(ParamsError, match=r"torchao_int4 does not run on the CPU \(torch sees no GPU\)"):
        run(wide_folder, packed, section("torchao_int4", group_size=32), tmp_path)
