"""One evaluation fails: the others go on, the leaderboard says so, nothing is lost."""

import re
from pathlib import Path

import pytest

from tests.clone import Clone
from tests.pipeline.outputs import committed_copy, params

pytestmark = pytest.mark.slow

# Python imports this before anything else: the evaluation of one model ends as a broken one would.
FAILING = """\
import os, sys
if "stages.evaluate" in sys.orig_argv and "models/again" in sys.orig_argv:
    os.write(2, b"forgeline: models/again/model.safetensors: the weight lm_head is NaN\\n")
    os._exit(1)
"""


def test_one_failed_evaluation_leaves_the_others_running(smoke: Clone, tmp_path: Path) -> None:
    clone = committed_copy(smoke, tmp_path / "forgeline")
    before = {path: path.read_bytes() for path in (clone.root / "metrics" / "evaluate").iterdir()}
    (tmp_path / "sitecustomize.py").write_text(FAILING)
    failing = {"PYTHONPATH": f"{clone.root / 'src'}:{tmp_path}"}
    known = params(smoke)
    clone.set_params(
        quantize__again={**known["quantize"]["rtn_w8"], "symmetric": False},
        evaluate__models=[*known["evaluate"]["models"], "again"],
        benchmark__models=["sft"],
    )

    done = clone.forgeline("repro", check=False, **failing)

    assert done.returncode != 0, done.stderr
    assert {path: path.read_bytes() for path in before} == before
    [sft] = [row for row in clone.metrics("leaderboard")["rows"] if row["model"] == "sft"]
    assert sft["cost"]["tokens_per_second"] == clone.metrics("benchmark/sft")["tokens_per_second"]
    reason = "models/again/model.safetensors: the weight lm_head is NaN"
    [missing] = clone.metrics("leaderboard")["missing"]
    assert missing == {"model": "again", "status": "failed", "reason": reason}
    assert f"FAILED evaluate@again: {reason}" in done.stderr
    assert f"again: failed ({reason})" in done.stdout
    assert f"again: failed ({reason})" in clone.forgeline("leaderboard").stdout

    clone.set_params(evaluate__models=known["evaluate"]["models"])
    printed = clone.forgeline("repro").stdout
    assert "Running stage 'report'" in printed
    assert re.search("Running stage '(evaluate|benchmark|quantize)", printed) is None  # nothing is done twice
    assert not clone.metrics("leaderboard").get("missing")
