import copy
import hashlib

import pytest
import torch
from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from forgeline.core.errors import DataError, ParamsError
from forgeline.quantization.compressed import save_quantized, stored_tensors
from forgeline.quantization.gate import (
    bits_per_byte,
    choose_windows,
    require_small_drop,
    require_small_increase,
    windows_sha256,
)
from forgeline.quantization.quantize import quantize_model
from forgeline.quantization.spec import parse


class NoTokenizer:
    def save_pretrained(self, target):
        pass


def make_model(tied=True, intermediate_size=48):
    torch.manual_seed(2)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=intermediate_size,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        initializer_range=0.2,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config).eval()


IDS = torch.randint(0, 40, (40, 16), generator=torch.Generator().manual_seed(0))


def logits(model):
    with torch.no_grad():
        return model(IDS[:4]).logits


def quantized(tag, model):
    spec = parse(tag)
    model = copy.deepcopy(model)
    return spec, model, quantize_model(model, spec, None if spec.method in ("rtn", "hqq") else IDS)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "tag",
    [
        "RTN_w8_g16_headbf16",
        "GPTQ_w4_g16_headbf16",
        "RTN_w4_g8_headfp32",
        "RTN_w4_g8_asym_headfp32",
        "RTN_w8_headfp16",
        "AWQ_w4_g16_asym_headfp32",
        "HQQ_w4_g16_asym_headfp32",
    ],
)
def test_transformers_loads_back_what_was_measured(tag, tied, tmp_path):
    original = make_model(tied)
    spec, model, weights = quantized(tag, original)
    save_quantized(model, weights, spec, NoTokenizer(), tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(str(tmp_path), dtype=torch.float32)
    assert torch.equal(logits(loaded), logits(model))
    assert 0 < (logits(model) - logits(original)).abs().max() < logits(original).abs().max()
    assert len(weights) == 14
    assert "lm_head" not in weights


def test_bytes_are_a_function_of_the_weights(tmp_path):
    digests = []
    for name in ("a", "b"):
        spec, model, weights = quantized("GPTQ_w4_g16_headbf16", make_model())
        save_quantized(model, weights, spec, NoTokenizer(), tmp_path / name)
        digests.append([hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted((tmp_path / name).iterdir())])
    assert digests[0] == digests[1]


def test_packed_zero_points_are_those_of_the_format():
    spec, model, weights = quantized("RTN_w4_g8_asym_headfp32", make_model())
    name = "model.layers.1.mlp.down_proj"
    prefix = f"{name}."
    tensors = stored_tensors(model, weights, spec)
    state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    args = QuantizationArgs(num_bits=4, symmetric=False, group_size=8, strategy="group")
    weight = PackedQuantizationCompressor.decompress(state, QuantizationScheme(targets=["Linear"], weights=args))
    assert torch.allclose(weight["weight"], weights[name].dequantize())


def test_a_tied_head_is_stored_once():
    spec, model, weights = quantized("RTN_w8_g16_headbf16", make_model(tied=True))
    tensors = stored_tensors(model, weights, spec)
    assert "lm_head.weight" not in tensors
    assert tensors["model.embed_tokens.weight"].dtype == torch.bfloat16


def test_a_group_size_that_does_not_divide_names_the_layer():
    with pytest.raises(ParamsError, match=r"group_size 32 .* input size 48 of layer model.layers.0.mlp.down_proj.* 24"):
        quantized("RTN_w4_g32_headbf16", make_model())


def test_gptq_makes_up_for_earlier_layers(tmp_path):
    original = make_model()
    errors = {}
    for tag in ("RTN_w4_g16_headbf16", "GPTQ_w4_g16_headbf16"):
        _, model, _ = quantized(tag, original)
        errors[tag] = float((logits(model) - logits(original)).pow(2).mean())
    assert errors["GPTQ_w4_g16_headbf16"] < errors["RTN_w4_g16_headbf16"]


class Windows:
    """Stands in for a TokenDataset."""

    def __len__(self):
        return len(IDS)

    def windows(self, indices):
        return IDS[torch.from_numpy(indices)].numpy()


def test_windows_are_a_seeded_choice_in_stream_order():
    chosen = choose_windows(Windows(), 5, 3, "quantize.x.gate_windows")
    assert torch.equal(chosen, choose_windows(Windows(), 5, 3, "quantize.x.gate_windows"))
    positions = [next(i for i in range(len(IDS)) if torch.equal(IDS[i], row)) for row in chosen]
    assert positions == sorted(set(positions))
    assert windows_sha256(chosen) != windows_sha256(choose_windows(Windows(), 5, 4, "quantize.x.gate_windows"))
    with pytest.raises(ParamsError, match=r"quantize.x.gate_windows 41 is more than the 40 windows"):
        choose_windows(Windows(), 41, 3, "quantize.x.gate_windows")


def test_bits_per_byte_from_the_library_loss():
    model = make_model()
    loss = model(IDS, labels=IDS).loss.item()  # nats per predicted token
    assert bits_per_byte(model, IDS, 4.0) == pytest.approx(loss / 0.6931471805599453 / 4.0, rel=1e-5)


class NoWindows(Windows):
    def __len__(self):
        return 0


def test_text_shorter_than_a_window_is_refused():
    with pytest.raises(DataError, match=r"calibration_windows: the split holds fewer tokens than one window of pack"):
        choose_windows(NoWindows(), 1, 3, "quantize.x.calibration_windows")


def test_the_gate_on_answers_says_by_how_much():
    assert require_small_drop("accuracy", 0.5, 0.55, 0.0, "x") == pytest.approx(-0.05)
    with pytest.raises(
        DataError,
        match=r"lowers format_rate by 0.3000 \(1.0000 -> 0.7000\), 0.2000 more than quantize.x.gate",
    ):
        require_small_drop("format_rate", 1.0, 0.7, 0.1, "x")


def test_the_gate_says_by_how_much():
    assert require_small_increase(1.0, 1.05, 0.1, "x") == pytest.approx(0.05)
    with pytest.raises(
        DataError,
        match=r"costs 0.2000 bits per byte \(1.0000 -> 1.2000\), 0.1000 more than quantize.x.gate.max_bits_per_byte_",
    ):
        require_small_increase(1.0, 1.2, 0.1, "x")
    with pytest.raises(DataError, match="costs nan"):
        require_small_increase(1.0, float("nan"), 0.1, "x")
