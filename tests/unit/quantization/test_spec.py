import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgeline.core.errors import ParamsError
from forgeline.core.params import validate
from forgeline.quantization.params import QuantizeParams
from forgeline.quantization.spec import METHODS, QuantizationSpec, parse, spec_of

NUMBERS = st.none() | st.integers(1, 4096)
SPECS = st.builds(
    QuantizationSpec,
    method=st.sampled_from(METHODS),
    bits=st.integers(1, 16),
    head_dtype=st.sampled_from(["bf16", "fp16", "fp32"]),
    group_size=NUMBERS,
    symmetric=st.booleans(),
    activation_bits=NUMBERS,
    kv_bits=NUMBERS,
    alpha=st.none() | st.floats(0, 1).map(abs),
    calibration=st.none() | st.text("0123456789abcdef", min_size=12, max_size=12),
    seed=st.none() | st.integers(0, 2**40),
)

GATE = {
    "windows": 4,
    "max_bits_per_byte_increase": 0.1,
    "questions": 0,
    "max_new_tokens": 8,
    "max_accuracy_drop": 0.0,
    "max_format_rate_drop": 0.0,
}
VALUES = {
    "method": "gptq",
    "model": "grpo",
    "bits": 4,
    "group_size": 128,
    "symmetric": True,
    "kv_bits": None,
    "head_dtype": "bf16",
    "calibration_windows": 8,
    "seed": 1,
    "gate": GATE,
}
DIGEST = "0123456789abcdef" * 4


@given(SPECS)
def test_parsing_a_tag_gives_the_spec_back(spec):
    assert parse(spec.tag) == spec


@given(SPECS, SPECS)
def test_different_specs_have_different_tags(one, other):
    assert (one.tag == other.tag) == (one == other)


def test_tags_by_hand():
    assert parse("GPTQ_w4_g128_headbf16") == QuantizationSpec("gptq", 4, "bf16", 128)
    assert QuantizationSpec("rtn", 8, "fp32", 64, symmetric=False).tag == "RTN_w8_g64_asym_headfp32"
    smooth = QuantizationSpec("smoothquant", 8, "bf16", activation_bits=8, kv_bits=8, alpha=0.5, seed=3)
    assert smooth.tag == "SMOOTHQUANT_w8_a8_kv8_headbf16_alpha0.5_seed3"
    assert QuantizationSpec("bitsandbytes_nf4", 4, "fp16", 64).tag == "BITSANDBYTES-NF4_w4_g64_headfp16"


@pytest.mark.parametrize("tag", ["", "GPTQ_w4", "GPTQ_w04_g1_headbf16", "gptq_w4_g128_headbf16", "AWQ_w4_g128_headf8"])
def test_other_words_are_refused(tag):
    with pytest.raises(ValueError, match="not a quantization tag"):
        parse(tag)


def test_an_unknown_method_is_told_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown method 'qlora': choose one of rtn, gptq, awq, hqq, smoothquant"):
        parse("QLORA_w4_g128_headbf16")


def check(without=(), **changes):
    values = {key: value for key, value in {**VALUES, **changes}.items() if key not in without}
    return validate(
        values, QuantizeParams, "quantize.x", "params.yaml", {"quantize": {"x": copy.deepcopy(values)}}
    ).root


def test_params_give_their_spec():
    assert spec_of(check(), DIGEST).tag == "GPTQ_w4_g128_headbf16_cal0123456789ab_seed1"
    rtn = check(method="rtn", group_size=None, kv_bits=8, without=["calibration_windows"])
    assert spec_of(rtn, None).tag == "RTN_w4_kv8_headbf16"
    grid = ["bits", "group_size", "symmetric"]
    smooth = spec_of(check(method="smoothquant", alpha=0.5, without=grid), DIGEST)
    assert smooth.tag == "SMOOTHQUANT_w8_a8_headbf16_alpha0.5_cal0123456789ab_seed1"
    libraries = [*grid, "calibration_windows", "kv_bits"]
    tags = {
        "bitsandbytes_int8": "BITSANDBYTES-INT8_w8_a8_headbf16",
        "bitsandbytes_nf4": "BITSANDBYTES-NF4_w4_g64_headbf16",
        "torchao_int8": "TORCHAO-INT8_w8_headbf16",
    }
    assert {name: spec_of(check(method=name, without=libraries), None).tag for name in tags} == tags


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "rtn"}, "calibration_windows is not a known parameter of rtn"),
        ({"without": ["calibration_windows"]}, "calibration_windows is missing: add it \\(gptq needs it"),
        ({"calibration_windows": 0}, "calibration_windows: got 0"),
        ({"method": "qlora"}, "method: got 'qlora' .*, expected one of 'rtn', 'gptq', 'awq', 'hqq', 'smoothquant'"),
        ({"group_size": 0}, "quantize.x.group_size: got 0"),
        ({"bits": 3}, "quantize.x.bits: got 3"),
        ({"symmetric": 1}, "quantize.x.symmetric: got 1"),
        ({"symmetric": False, "kv_bits": 8}, "kv_bits needs symmetric: true"),
        ({"gate": {**GATE, "max_accuracy_drop": 2.0}}, "quantize.x.gate.max_accuracy_drop: got 2.0"),
        ({"extra": 1}, "quantize.x.extra is not a known parameter"),
    ],
)
def test_params_that_cannot_be(changes, message):
    with pytest.raises(ParamsError, match=message):
        check(**changes)
