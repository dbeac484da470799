"""Adapters: their layers in every family, their size by formula, and that plain libraries load them."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from pydantic import TypeAdapter, ValidationError
from tests.unit.training.toys import PEFT, SFT, Killed, files, killer
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.storage import sha256_path, write_json
from forgeline.model.loading import load_model, save_model_files
from forgeline.quantization.libraries import used_library
from forgeline.training.adapters import expected_parameters, find_targets, new_adapter
from forgeline.training.params.peft import PeftParams
from forgeline.training.params.sft import SftParams
from forgeline.training.sft import train_sft
from forgeline.training.sft_model import lineage_facts

IDS = torch.tensor([[2, 50, 60, 70, 80]])
LLAMA = (["q_proj", "v_proj"], ["k_proj", "o_proj", "q_proj", "v_proj"], ["down_proj", "gate_proj", "up_proj"])
FUSED = ["dense_4h_to_h", "dense_h_to_4h"]
FAMILIES = {  # minimal, attention_only, ffn_only
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "bloom": (["query_key_value"], ["dense", "query_key_value"], FUSED),
    "gpt_neox": (["query_key_value"], ["dense", "query_key_value"], FUSED),
    "gpt2": (["c_attn"], ["attn.c_proj", "c_attn"], ["c_fc", "mlp.c_proj"]),
    "phi3": (["qkv_proj"], ["o_proj", "qkv_proj"], ["down_proj", "gate_up_proj"]),
}
SMALL = {
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 1,
}


def peft(kind: str, **changes) -> PeftParams:
    return TypeAdapter(PeftParams).validate_python({**PEFT[kind], **changes})


def sft_params(kind: str, **changes) -> SftParams:
    return SftParams(**{**SFT, "num_steps": 2, "peft": {**PEFT[kind], **changes}})


def model_of(family: str) -> nn.Module:
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SMALL))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_presets_name_the_layers_of_a_family(family: str) -> None:
    model = model_of(family)
    minimal, attention, ffn = FAMILIES[family]
    found = {choice: find_targets(model, choice) for choice in ("minimal", "attention_only", "ffn_only", "all")}
    assert found["minimal"] == minimal
    assert found["attention_only"] == attention
    assert found["ffn_only"] == ffn
    assert {name.rpartition(".")[2] for name in found["all"]} == {n.rpartition(".")[2] for n in attention + ffn}
    put_on = new_adapter(model, peft("lora", target_modules="attention_only"), attention, range(0), 1)
    layers = {name.rpartition(".lora_A")[0] for name, _ in put_on.named_parameters() if ".lora_A" in name}
    assert all("att" in layer.split(".")[-2] for layer in layers)


class Block(nn.Module):
    """A layer whose parts are called as in models that ship their own code."""

    def __init__(self, attention: str, names: tuple[str, ...], ffn: tuple[str, ...]) -> None:
        super().__init__()
        self.add_module(attention, nn.ModuleDict({name: nn.Linear(4, 4) for name in names}))
        self.mlp = nn.ModuleDict({name: nn.Linear(4, 4) for name in ffn})


@pytest.mark.parametrize(
    ("attention", "names", "ffn", "minimal"),
    [
        ("self_attn", ("W_pack", "o_proj"), ("gate_proj", "up_proj", "down_proj"), ["W_pack"]),  # Baichuan
        ("self_attention", ("query_key_value", "dense"), ("dense_h_to_4h", "dense_4h_to_h"), ["query_key_value"]),
        ("attn", ("c_attn", "c_proj"), ("w1", "w2", "c_proj"), ["c_attn"]),  # Qwen 1
    ],
    ids=["baichuan", "chatglm", "qwen"],
)
def test_presets_of_models_with_code_of_their_own(attention, names, ffn, minimal) -> None:
    model = nn.ModuleDict({"layers": nn.ModuleList([Block(attention, names, ffn) for _ in range(2)])})
    assert find_targets(model, "minimal") == minimal
    assert {name.rpartition(".")[2] for name in find_targets(model, "attention_only")} == set(names)
    assert {name.rpartition(".")[2] for name in find_targets(model, "ffn_only")} == set(ffn)
    assert {name.rpartition(".")[2] for name in find_targets(model, "all")} == {*names, *ffn}


def test_targets_that_match_no_layer_are_refused_with_those_there_are() -> None:
    with pytest.raises(ParamsError, match=r"no layer for W_pack; it has .*self_attn\.v_proj.*or write all"):
        find_targets(model_of("llama"), ["q_proj", "W_pack"])
    with pytest.raises(ParamsError, match=r"no layer for ffn_only; it has attn\.a: name some"):
        find_targets(nn.ModuleDict({"attn": nn.ModuleDict({"a": nn.Linear(2, 2)})}), "ffn_only")


@pytest.mark.parametrize(
    ("kind", "changes", "by_hand"),
    [
        # q: 16 -> 16, v: 16 -> 16, in two layers
        ("lora", {"target_modules": "minimal"}, 2 * 2 * 2 * 32),
        ("lora", {"target_modules": "minimal", "train_embeddings": "new"}, 256 + 2 * 3 * 16),
        ("lora", {"target_modules": "minimal", "train_embeddings": "all"}, 256 + 2 * 300 * 16),
        ("dora", {"target_modules": "minimal"}, 2 * 2 * (2 * 32 + 16)),
        ("vera", {"target_modules": "minimal"}, 2 * 2 * (4 + 16)),
        # q, k, v, o: 16 x 16; gate, up: 16 -> 24; down: 24 -> 16
        ("lora", {"target_modules": "all"}, 2 * (4 * 2 * 32 + 3 * 2 * 40)),
    ],
)
def test_trainable_parameters_by_formula(kind: str, changes: dict, by_hand: int) -> None:
    model, params = model_of("llama"), peft(kind, **changes)
    targets = find_targets(model, params.target_modules)
    assert expected_parameters(model, params, targets, 3) == by_hand
    assert new_adapter(model, params, targets, range(297, 300), 1).get_nb_trainable_parameters()[0] == by_hand


def test_gpt2_by_formula() -> None:
    model, params = model_of("gpt2"), peft("lora", target_modules="all")
    targets = find_targets(model, "all")
    expected = expected_parameters(model, params, targets, 0)
    assert new_adapter(model, params, targets, range(0), 1).get_nb_trainable_parameters()[0] == expected


def test_rslora_scales_by_the_root_of_the_rank() -> None:
    for rslora, scale in ((False, 4 / 2), (True, 4 / 2**0.5)):
        put_on = new_adapter(model_of("llama"), peft("lora", rslora=rslora), ["q_proj"], range(0), 1)
        layer = next(module for module in put_on.modules() if hasattr(module, "lora_A"))
        assert layer.scaling["default"] == pytest.approx(scale)


@pytest.mark.parametrize("embeddings", ["none", "new", "all"])
@pytest.mark.parametrize("kind", ["lora", "dora", "vera"])
def test_adapters_load_in_plain_peft(chat_model, context, conversations, tmp_path, kind, embeddings) -> None:
    if kind == "vera" and embeddings != "none":
        pytest.skip("VeRA trains no embeddings")
    changes = {} if kind == "vera" else {"train_embeddings": embeddings}
    new_ids = range(290, 300)
    result = train_sft(chat_model, conversations, conversations, sft_params(kind, **changes), context, new_ids)
    save_model_files(result.model, result.tokenizer, tmp_path / "adapter")
    trained = result.model.eval()(IDS).logits
    plain = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter").eval()
    torch.testing.assert_close(plain(IDS).logits, trained)
    torch.testing.assert_close(load_model(tmp_path / "adapter", context.device)(IDS).logits, trained)
    start = LlamaForCausalLM.from_pretrained(chat_model)
    assert not torch.allclose(start(IDS).logits, trained)
    merged = plain.merge_and_unload()
    torch.testing.assert_close(merged(IDS).logits, trained, rtol=1e-4, atol=1e-4)
    if embeddings == "new":
        rows = merged.get_input_embeddings().weight, start.get_input_embeddings().weight
        assert torch.equal(rows[0][:290], rows[1][:290])


def test_a_fully_tuned_model_loads_in_plain_transformers(chat_model, context, conversations, tmp_path) -> None:
    result = train_sft(chat_model, conversations, conversations, sft_params("none"), context)
    save_model_files(result.model, result.tokenizer, tmp_path / "model")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(plain(IDS).logits, result.model.eval()(IDS).logits)


def trained_adapter(chat_model, context, conversations, folder: Path, **changes) -> torch.Tensor:
    result = train_sft(chat_model, conversations, conversations, sft_params("lora", **changes), context)
    save_model_files(result.model, result.tokenizer, folder)
    write_json(folder / "lineage.json", {"inputs": {chat_model.as_posix(): sha256_path(chat_model)}})
    return result.model.eval()(IDS).logits


def test_the_three_ways_to_begin(chat_model, context, conversations, tmp_path) -> None:
    first = tmp_path / "first"
    logits = trained_adapter(chat_model, replace(context, scratch=tmp_path / "1"), conversations, first)
    loss = None
    for use, parent in (("continue", chat_model), ("merge", first)):
        earlier = {"path": str(first), "use": use}
        params = sft_params("lora", earlier=earlier)
        result = train_sft(chat_model, conversations, conversations, params, replace(context, scratch=tmp_path / use))
        # both begin where the first ended
        loss = loss or result.figures["before"]["validation_loss"]
        assert result.figures["before"]["validation_loss"] == pytest.approx(loss, rel=1e-4)
        save_model_files(result.model, result.tokenizer, tmp_path / f"{use}d")
        config = json.loads((tmp_path / f"{use}d" / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == parent.as_posix()
        loaded = load_model(tmp_path / f"{use}d", context.device)(IDS).logits
        torch.testing.assert_close(loaded, result.model.eval()(IDS).logits, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(loaded, logits)


def test_an_adapter_of_another_base_is_refused_with_both_hashes(chat_model, context, conversations, tmp_path) -> None:
    first = tmp_path / "first"
    trained_adapter(chat_model, context, conversations, first)
    write_json(first / "lineage.json", {"inputs": {chat_model.as_posix(): "0123456789abcdef" * 4}})
    params = sft_params("lora", earlier={"path": str(first), "use": "continue"})
    found = sha256_path(chat_model)[:16]
    with pytest.raises(DataError, match=rf"trained on weights 0123456789abcdef .*, but .* is {found}: take"):
        train_sft(chat_model, conversations, conversations, params, context)


def test_an_adapter_of_another_shape_is_refused(chat_model, context, conversations, tmp_path) -> None:
    first = tmp_path / "first"
    trained_adapter(chat_model, replace(context, scratch=tmp_path / "1"), conversations, first)
    for kind, changes in (("lora", {"r": 3}), ("dora", {}), ("vera", {})):
        params = sft_params(kind, earlier={"path": str(first), "use": "continue"}, **changes)
        with pytest.raises(DataError, match=r"is an adapter of lora with .* make them equal, or use: merge"):
            train_sft(chat_model, conversations, conversations, params, context)
    missing = sft_params("lora", earlier={"path": str(chat_model), "use": "merge"})
    with pytest.raises(DataError, match="holds no adapter"):
        train_sft(chat_model, conversations, conversations, missing, context)


def test_new_rows_need_new_ids(chat_model, context, conversations) -> None:
    with pytest.raises(ParamsError, match="train_embeddings is new, but the tokenizer adds no ids"):
        train_sft(chat_model, conversations, conversations, sft_params("lora", train_embeddings="new"), context)


@pytest.mark.parametrize("kind", ["qlora", "int8"])
def test_without_bitsandbytes_it_says_how_to_install(chat_model, context, conversations, monkeypatch, kind) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ParamsError, match=rf"sft.peft.kind {kind} needs bitsandbytes: install it with `pip install"):
        train_sft(chat_model, conversations, conversations, sft_params(kind), context)


def test_knobs_of_another_kind_are_refused() -> None:
    for kind, changes in (("vera", {"alpha": 2}), ("none", {"r": 2}), ("lora", {"target_modules": ["lm_head"]})):
        with pytest.raises(ValidationError):
            peft(kind, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["qlora", "int8"])
def test_quantized_bases(chat_model, context, conversations, tmp_path, kind) -> None:
    pytest.importorskip("bitsandbytes")
    params = SftParams(**{**SFT, "num_steps": 30, "peft": {**PEFT[kind], "target_modules": "all"}})
    calm = train_sft(chat_model, conversations, conversations, params, replace(context, scratch=tmp_path / "calm"))
    assert calm.figures["final"]["validation_loss"] < calm.figures["before"]["validation_loss"] - 0.5
    assert all(w.dtype == torch.float32 for w in calm.model.parameters() if w.requires_grad)
    with pytest.raises(Killed):
        train_sft(chat_model, conversations, conversations, params, replace(context, log=killer(21)))
    resumed = train_sft(chat_model, conversations, conversations, params, context)
    assert resumed.history == calm.history
    for number, result in enumerate((calm, resumed)):
        save_model_files(result.model, result.tokenizer, tmp_path / str(number))
    assert files(tmp_path / "0") == files(tmp_path / "1")
    plain = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "0").eval()  # on the base as it is
    torch.testing.assert_close(plain(IDS).logits, calm.model.eval()(IDS).logits.float(), rtol=0.5, atol=0.5)


def test_the_lineage_names_a_library_where_it_is_used(monkeypatch) -> None:
    versions = {"bitsandbytes": "0.50.2", "torchao": "0.18.0"}  # both are optional
    for module in ("forgeline.training.sft_model", "forgeline.quantization.libraries"):
        monkeypatch.setattr(f"{module}.version", versions.__getitem__)
    assert lineage_facts(SftParams(**SFT)) == {}
    assert lineage_facts(SftParams(**{**SFT, "peft": PEFT["qlora"]})) == {
        "optional_libraries": {"bitsandbytes": "0.50.2"}
    }
    assert used_library("gptq") == {}
    assert used_library("torchao_int8") == {"optional_libraries": {"torchao": "0.18.0"}}
