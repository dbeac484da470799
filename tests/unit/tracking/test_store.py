import os
import subprocess
import sys
from pathlib import Path

import pytest

from forgeline.tracking.store import tracking_uri


def test_the_default_store_lies_in_the_repository_that_dvc_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    assert tracking_uri() == "http://tracker:5000"


def test_switched_off_does_not_import_mlflow(tmp_path: Path) -> None:
    program = """
import sys
from forgeline.tracking.live import LiveRun
from forgeline.tracking.sync import sync_all
with LiveRun("sft", {}, "abc") as live:
    live.log(1, {"loss": 1.0})
sync_all()
assert "mlflow" not in sys.modules
"""
    environment = {**os.environ, "FORGELINE_TRACKING": "off", "DVC_ROOT": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []
