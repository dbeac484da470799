import subprocess
from pathlib import Path

import pytest

from forgeline.core.errors import DataError
from forgeline.core.params import plain, read_yaml, write_yaml
from forgeline.core.storage import write_json
from forgeline.reporting.lineage import dvc_md5, lineage
from forgeline.tracking.params import RegisterParams
from forgeline.tracking.registry import register_models
from forgeline.tracking.versions import registered_version

PARAMS = RegisterParams(name="tiny", alias="candidate", models=["sft"])


def git(*arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def register(weights: str) -> None:
    """Writes models/sft and its dvc.lock, and registers it."""
    write_json(Path("models/sft/lineage.json"), {"stage": "sft", "inputs": {}})
    Path("models/sft/model.safetensors").write_text(weights)
    outs = [{"path": "models/sft", "hash": "md5", "md5": dvc_md5(Path("models/sft")), "size": 1}]
    write_yaml(Path("dvc.lock"), {"schema": "2.0", "stages": {"sft": {"cmd": "python", "outs": outs}}})
    register_models(Path("models"), PARAMS, {}, plain(read_yaml(Path("dvc.lock")))["stages"])


@pytest.mark.slow
def test_a_version_leads_to_the_lock_that_made_it(store: Path) -> None:
    git("init", "-q")
    register("v1")
    assert registered_version("models:/tiny-sft/1").commit == ""  # as it lies here, not committed yet
    git("add", "dvc.lock")
    git("commit", "-qm", "first")
    first = git("rev-parse", "HEAD")
    register("v2")
    old, new = registered_version("models:/tiny-sft/1"), registered_version("models:/tiny-sft@candidate")
    assert (old.path, old.commit, old.version) == ("models/sft", first, 1)
    assert (new.commit, new.version) == ("", 2)
    hashes = [lineage(Path("models/sft"), commit=version.commit)[0].outputs[0].md5 for version in (old, new)]
    assert hashes[1] == dvc_md5(Path("models/sft")) != hashes[0]

    register("v3")  # the second was never committed, and is gone from here
    with pytest.raises(DataError, match=r"no commit or experiment here has models/sft with md5 .*\.dir"):
        registered_version("models:/tiny-sft/2")
    with pytest.raises(DataError, match=r"models:/tiny-sft/9 does not exist: there are versions 1, 2, 3"):
        registered_version("models:/tiny-sft/9")
    with pytest.raises(DataError, match="does not exist: there are aliases candidate"):
        registered_version("models:/tiny-sft@champion")
    with pytest.raises(DataError, match="no registered model 'x': there are tiny-sft"):
        registered_version("models:/x/1")


def test_another_form_is_refused() -> None:
    with pytest.raises(DataError, match=r"'models:/sft' is neither models:/<name>/<version> nor"):
        registered_version("models:/sft")
