"""What the plan says a quantized model will take, against files of the default run."""

from pathlib import Path

import pytest

from forgeline.core.params import plain, read_yaml
from forgeline.planning.disk import quantized_bytes

PARAMS = plain(read_yaml(Path("presets/default.yaml")))
NUM_WEIGHTS = 2_557_632
GPTQ = PARAMS["quantize"]["gptq_w4"]
COMMON = {key: GPTQ[key] for key in ("model", "head_dtype", "seed", "gate")}


@pytest.mark.parametrize(
    ("entry", "stored"),
    [
        (PARAMS["quantize"]["rtn_w8"], 3_411_608),
        (GPTQ, 2_526_840),
        ({**GPTQ, "symmetric": False}, 2_543_808),
        ({**GPTQ, "group_size": None}, 2_487_416),
        ({**COMMON, "method": "smoothquant", "alpha": 0.5, "calibration_windows": 64, "kv_bits": None}, 3_368_824),
        ({**COMMON, "method": "bitsandbytes_int8"}, 3_387_212),
        ({**COMMON, "method": "torchao_int8"}, 3_406_456),
        ({**COMMON, "method": "bitsandbytes_nf4"}, 2_544_427),
    ],
    ids=lambda value: value["method"] if isinstance(value, dict) else None,
)
def test_sizes_are_near_those_of_files(entry, stored) -> None:
    params = {**PARAMS, "quantize": {"x": entry}}
    assert quantized_bytes(params, "x", NUM_WEIGHTS) == pytest.approx(stored, rel=0.025)
