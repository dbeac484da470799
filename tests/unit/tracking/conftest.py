import shutil
import warnings
from pathlib import Path

import pytest

from forgeline.tracking.store import MIRROR_EXPERIMENT, open_store


@pytest.fixture(scope="session")
def migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty sqlite store: migrations take seconds, so they run once and each test gets a copy."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        patch.delenv("FORGELINE_TRACKING", raising=False)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            open_store(MIRROR_EXPERIMENT)
    return folder / "mlflow.db"


@pytest.fixture
def store(tmp_path: Path, migrated_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository root of a test, with its own store, as the working directory."""
    shutil.copy(migrated_store, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("FORGELINE_TRACKING", raising=False)
    return tmp_path
