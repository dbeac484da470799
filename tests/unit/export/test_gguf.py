"""GGUF files against llama.cpp itself, and against what transformers reads back from them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from forgeline.core.errors import DataError, ParamsError
from forgeline.export.gguf import TYPES, export_gguf, interleave_halves
from forgeline.export.gguf_tokenizer import gguf_tokenizer

TEXT = "Ann has a red apple and Ben has 2 green pears.\n  No fruit?"
SHAPE: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.3, "bos_token_id": 0,
    "eos_token_id": 3, "pad_token_id": 1,
}  # fmt: skip
FAMILIES: dict[str, tuple[Any, Any]] = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}


def make_folder(folder: Path, tokenizer: Any, family: str = "llama", **changed: Any) -> PreTrainedModel:
    """A model folder of a small model whose vectors are not what they start as."""
    config_class, model_class = FAMILIES[family]
    extra = {"head_dim": 16} if family == "qwen3" else {}
    torch.manual_seed(7)
    model = model_class(config_class(vocab_size=len(tokenizer), **{**SHAPE, **extra, **changed})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape) * 0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def writable(tokenizer: Any) -> list[int]:
    """Tokens that are text by themselves: llama.cpp withholds figures of those that end within a character."""
    return [number for number in range(4, len(tokenizer)) if tokenizer.decode([number]).isascii()]


def completion(file: Path, prompt: str | list[int], tokenizer: Any, num_tokens: int = 6) -> list[dict[str, Any]]:
    """What llama.cpp writes greedily out of the writable tokens: id and raw log-probabilities of each."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_ctx = 64
    params.cpuparams.n_threads = 1
    params.warmup = False
    server = xllamacpp.Server(params)
    answers: list[Any] = []
    banned = [[number, False] for number in sorted(set(range(len(tokenizer))) - set(writable(tokenizer)))]
    request = {"prompt": prompt, "max_tokens": num_tokens, "temperature": 0, "logprobs": 20, "logit_bias": banned}
    server.handle_completions(request, answers.append)
    answer = answers[0] if isinstance(answers[0], dict) else json.loads(answers[0])
    return list(answer["choices"][0]["logprobs"]["content"])


def best(logits: torch.Tensor, tokenizer: Any) -> int:
    """The likeliest of the writable tokens."""
    return max(writable(tokenizer), key=lambda number: float(logits[number]))


@pytest.mark.parametrize(
    ("family", "changed"),
    [("llama", {"tie_word_embeddings": False}), ("llama", {"tie_word_embeddings": True}), ("qwen2", {}), ("qwen3", {})],
    ids=["llama", "tied", "qwen2", "qwen3"],
)
def test_llama_cpp_computes_the_same(family, changed, tokenizer, tmp_path) -> None:
    model = make_folder(tmp_path / "model", tokenizer, family, **changed)
    export_gguf(tmp_path / "model", tmp_path / "model.gguf", "f16")
    ids = tokenizer.encode(TEXT, add_special_tokens=False)
    found = completion(tmp_path / "model.gguf", TEXT, tokenizer)  # llama.cpp encodes the text by itself
    for step in found:
        with torch.no_grad():
            logps = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        assert logps[step["id"]] > logps[best(logps, tokenizer)] - 0.03  # weights and cache in float16: ties may fall
        for other in step["top_logprobs"]:
            assert other["logprob"] == pytest.approx(float(logps[other["id"]]), abs=0.06)
        ids.append(step["id"])
    assert len(found) == 6


def test_a_wrong_order_of_rows_would_be_noticed(tokenizer, tmp_path, monkeypatch) -> None:
    """What makes the comparison with llama.cpp worth something: the same file without the permutation differs."""
    model = make_folder(tmp_path / "model", tokenizer)
    monkeypatch.setattr("forgeline.export.gguf.interleave_halves", lambda weight, _heads: weight)
    export_gguf(tmp_path / "model", tmp_path / "model.gguf", "f16")
    ids = tokenizer.encode(TEXT, add_special_tokens=False)
    with torch.no_grad():
        logps = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    first = completion(tmp_path / "model.gguf", ids, tokenizer, 1)[0]
    assert max(abs(each["logprob"] - float(logps[each["id"]])) for each in first["top_logprobs"]) > 0.3


def test_quantized_types_are_near_and_small(tokenizer, tmp_path) -> None:
    model = make_folder(tmp_path / "model", tokenizer)
    weight = model.model.layers[1].mlp.down_proj.weight.detach().numpy()
    sizes, errors = [], []
    for kind in ("f16", "q8_0", "q4_0"):
        file = tmp_path / f"{kind}.gguf"
        sizes.append(export_gguf(tmp_path / "model", file, kind))
        assert sizes[-1] == file.stat().st_size
        stored = next(each for each in GGUFReader(file).tensors if each.name == "blk.1.ffn_down.weight")
        assert stored.tensor_type == TYPES[kind][0]
        errors.append(float(np.abs(dequantize(stored.data, stored.tensor_type) - weight).max()))
    assert sizes[0] > 1.5 * sizes[1] > 1.5 * sizes[2]
    assert errors[0] < errors[1] < errors[2] < 0.2
    ids = tokenizer.encode(TEXT, add_special_tokens=False)
    with torch.no_grad():
        expected = best(model(torch.tensor([ids])).logits[0, -1], tokenizer)
    assert completion(tmp_path / "q8_0.gguf", TEXT, tokenizer, 1)[0]["id"] == expected


def test_transformers_reads_the_weights_back(tokenizer, tmp_path) -> None:
    model = make_folder(tmp_path / "model", tokenizer)
    export_gguf(tmp_path / "model", tmp_path / "model.gguf", "f32")
    loaded = AutoModelForCausalLM.from_pretrained(str(tmp_path), gguf_file="model.gguf", dtype=torch.float32)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_rows_by_hand() -> None:
    """Two heads of size 4: halves [a b | c d] become pairs a c b d."""
    weight = np.arange(8, dtype=np.float32)[:, None]
    assert interleave_halves(weight, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_bytes_are_a_function_of_the_model(tokenizer, tmp_path) -> None:
    make_folder(tmp_path / "model", tokenizer)
    digests = set()
    for name in ("a.gguf", "b.gguf"):
        export_gguf(tmp_path / "model", tmp_path / name, "q8_0")
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_the_chat_template_is_one_llama_cpp_reads(tokenizer, tmp_path) -> None:
    make_folder(tmp_path / "model", tokenizer)
    export_gguf(tmp_path / "model", tmp_path / "model.gguf", "f16")
    fields = GGUFReader(tmp_path / "model.gguf").fields
    template = fields["tokenizer.chat_template"].contents()
    assert "generation -%}" not in template
    from jinja2 import Environment

    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    text = Environment().from_string(template).render(messages=chat, add_generation_prompt=True)
    expected = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == expected
    assert fields["tokenizer.ggml.eos_token_id"].contents() == 3


def test_an_adapter_is_merged_on_the_way(tokenizer, tmp_path, monkeypatch) -> None:
    from peft import LoraConfig, get_peft_model

    monkeypatch.chdir(tmp_path)
    base = make_folder(tmp_path / "base", tokenizer)
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["v_proj"], init_lora_weights=False))
    model.peft_config["default"].base_model_name_or_path = "base"
    model.save_pretrained("adapter", save_embedding_layers=False)
    tokenizer.save_pretrained("adapter")
    export_gguf(Path("adapter"), Path("adapter.gguf"), "f32")
    expected = model.merge_and_unload().model.layers[0].self_attn.v_proj.weight.detach().numpy()
    stored = next(each for each in GGUFReader("adapter.gguf").tensors if each.name == "blk.0.attn_v.weight")
    assert np.allclose(dequantize(stored.data, stored.tensor_type), expected, atol=1e-6)


def test_what_gguf_cannot_hold_is_refused(tokenizer, tmp_path) -> None:
    target = tmp_path / "x.gguf"
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_positions=16, n_embd=16, n_layer=1, n_head=2))
    gpt2.save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    with pytest.raises(DataError, match=r"GPT2LMHeadModel is not one of the causal models of llama, mistral, qwen2"):
        export_gguf(tmp_path / "gpt2", target, "f16")
    scaled = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 32}
    make_folder(tmp_path / "yarn", tokenizer, rope_parameters=scaled)
    with pytest.raises(DataError, match=r"its positions are scaled \(yarn\)"):
        export_gguf(tmp_path / "yarn", target, "f16")
    make_folder(tmp_path / "bias", tokenizer, attention_bias=True)
    with pytest.raises(DataError, match="have biases"):
        export_gguf(tmp_path / "bias", target, "f16")
    make_folder(tmp_path / "plain", tokenizer)
    with pytest.raises(ParamsError, match=r"unknown GGUF type 'q3_k': choose one of f32, f16, bf16, q8_0"):
        export_gguf(tmp_path / "plain", target, "q3_k")
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    (tmp_path / "plain" / "config.json").write_text(json.dumps({**config, "quantization_config": {}}))
    with pytest.raises(DataError, match="is quantized already, in a format that GGUF cannot hold"):
        export_gguf(tmp_path / "plain", target, "f16")
    assert not list(tmp_path.glob("x.gguf*"))


def test_a_model_without_tokenizer_is_refused(tokenizer, tmp_path) -> None:
    make_folder(tmp_path / "model", tokenizer)
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"model holds no tokenizer.json"):
        export_gguf(tmp_path / "model", tmp_path / "x.gguf", "f16")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalizer": {"type": "NFC"}}, "it normalizes text"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "no name for the way it splits texts"),
        ({"model": {"type": "Unigram", "vocab": []}}, "its model is Unigram, and only byte-level BPE"),
    ],
)
def test_tokenizers_that_llama_cpp_does_not_know_are_refused(changes, message, tokenizer, tmp_path) -> None:
    tokenizer.save_pretrained(tmp_path)
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(DataError, match=message):
        gguf_tokenizer(tmp_path, 300)
