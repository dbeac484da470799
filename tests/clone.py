"""Temporary clones of the working tree, in which tests run the real commands."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgeline.core.params import plain, read_yaml, write_yaml
from forgeline.core.storage import read_json

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Clone:
    """A git repository with the content of this working tree, committed or not, and a preset applied."""

    root: Path

    @classmethod
    def make(cls, root: Path, preset: str = "smoke") -> "Clone":
        """Copies what git tracks or would track, without results, and commits it."""
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in listed.stdout.splitlines():
            if name != "dvc.lock" and not name.startswith("metrics/") and (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name)
        shutil.copyfile(ROOT / "presets" / f"{preset}.yaml", root / "params.yaml")
        clone = cls(root)
        clone.run("git", "init", "--quiet", "--initial-branch", "main")
        clone.commit("clone")
        return clone

    def environment(self, **extra: str) -> dict[str, str]:
        """This interpreter's tools first, this clone's code first."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        ours = ("DVC_", "FORGELINE_", "MLFLOW_", "OMP_")  # what the test process itself runs under, or mlflow set there
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        return {**inherited, "PATH": path, "PYTHONPATH": str(self.root / "src"), "DVC_NO_ANALYTICS": "true", **extra}

    def run(
        self, *command: str, check: bool = True, timeout: float = 300, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in the clone; a failure raises with everything it printed."""
        done = subprocess.run(
            command, cwd=self.root, env=self.environment(**extra), capture_output=True, text=True, timeout=timeout
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def forgeline(self, *arguments: str, check: bool = True, timeout: float = 300, **extra: str):  # type: ignore[no-untyped-def]
        """Runs the `forgeline` command with the clone's code."""
        return self.run(sys.executable, "-m", "forgeline.cli", *arguments, check=check, timeout=timeout, **extra)

    def dvc(self, *arguments: str, check: bool = True, timeout: float = 300, **extra: str):  # type: ignore[no-untyped-def]
        """Runs `dvc` in the clone."""
        return self.run("dvc", *arguments, check=check, timeout=timeout, **extra)

    def commit(self, message: str) -> None:
        """Commits everything that is not ignored."""
        self.run("git", "add", "--all")
        identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        self.run("git", *identity, "commit", "--quiet", "--allow-empty", "--message", message)

    def set_params(self, **values: Any) -> None:
        """Changes params.yaml: keys are dotted paths with `__` for the dot."""
        path = self.root / "params.yaml"
        document = read_yaml(path)
        for name, value in values.items():
            *parents, leaf = name.split("__")
            node = document
            for parent in parents:
                node = node[parent]
            node[leaf] = value
        write_yaml(path, document)

    def metrics(self, name: str) -> Any:
        """The content of metrics/<name>.json."""
        return read_json(self.root / "metrics" / f"{name}.json")

    def lock(self) -> dict[str, Any]:
        """The stages of dvc.lock."""
        stages: dict[str, Any] = plain(read_yaml(self.root / "dvc.lock"))["stages"]
        return stages
