import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgeline.core.errors import ParamsError
from forgeline.core.params import validate
from forgeline.quantization.params import QuantizeParams
from forgeline.quantization.spec import QuantizationSpec, parse, spec_of

SPECS = st.builds(
    QuantizationSpec,
    method=st.sampled_from(["rtn", "gptq"]),
    bits=st.integers(1, 16),
    group_size=st.integers(1, 4096),
    symmetric=st.booleans(),
    head_dtype=st.sampled_from(["bf16", "fp32"]),
)

VALUES = {
    "method": "gptq",
    "bits": 4,
    "group_size": 128,
    "symmetric": True,
    "head_dtype": "bf16",
    "calibration_windows": 8,
    "gate_windows": 4,
    "seed": 1,
    "max_bits_per_byte_increase": 0.1,
}


@given(SPECS)
def test_parsing_a_tag_gives_the_spec_back(spec):
    assert parse(spec.tag) == spec


def test_tags_by_hand():
    assert parse("GPTQ_w4_g128_headbf16") == QuantizationSpec("gptq", 4, 128, True, "bf16")
    assert QuantizationSpec("rtn", 8, 64, False, "fp32").tag == "RTN_w8_g64_asym_headfp32"


@pytest.mark.parametrize(
    "tag", ["", "GPTQ_w4", "GPTQ_w04_g1_headbf16", "gptq_w4_g128_headbf16", "AWQ_w4_g128_headbf16"]
)
def test_other_words_are_refused(tag):
    with pytest.raises(ValueError, match="not a quantization tag"):
        parse(tag)


def check(**changes):
    return validate({**VALUES, **changes}, QuantizeParams, "quantize.x", "params.yaml", {})


def test_params_give_their_spec():
    assert spec_of(check()).tag == "GPTQ_w4_g128_headbf16"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"calibration_windows": 0}, "gptq needs calibration: set calibration_windows above 0"),
        ({"method": "rtn"}, "rtn uses no calibration"),
        ({"group_size": 0}, "quantize.x.group_size: got 0"),
        ({"bits": 3}, "quantize.x.bits: got 3"),
        ({"symmetric": False}, "symmetric must be true"),
        ({"symmetric": 1}, "quantize.x.symmetric: got 1"),
        ({"extra": 1}, "quantize.x.extra is not a known parameter"),
    ],
)
def test_params_that_cannot_be(changes, message):
    with pytest.raises(ParamsError, match=message):
        check(**changes)
