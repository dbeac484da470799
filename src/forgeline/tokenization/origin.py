"""Where a model or tokenizer that was made elsewhere lies: a local folder, a GGUF file, or a repository of a hub.

In params.yaml an origin is one string: a path, or `owner/name@revision` with the full commit of the Hugging Face hub. A
branch or tag would name other bytes tomorrow.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from forgeline.core.errors import DataError, ParamsError

_HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)@(?P<revision>\w+)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NEEDED = ("*.json", "*.jinja", "*.safetensors", "*.model", "*.txt")  # no code, no pickled weights


@dataclass(frozen=True)
class Origin:
    """A folder as `from_pretrained` takes it, and the GGUF file in it that holds everything, if it is one."""

    folder: Path
    gguf_file: str | None

    @property
    def arguments(self) -> dict[str, str | bool]:
        """Keyword arguments that make `from_pretrained(folder)` read this and nothing from the network."""
        gguf = {} if self.gguf_file is None else {"gguf_file": self.gguf_file}
        return {**gguf, "local_files_only": True}


def find_origin(text: str, knob: str) -> Origin:
    """The files that a string of params.yaml names; those of the hub are downloaded, or found in its local cache.

    Args:
        text: A path or `owner/name@revision`.
        knob: The parameter that holds it, for messages.

    Raises:
        ParamsError: It is neither, or names no full commit.
        DataError: The hub cannot be reached, or has no such commit.
    """
    path = Path(text)
    if path.is_dir():
        return Origin(path, None)
    if path.is_file():
        if path.suffix != ".gguf":
            raise ParamsError(f"params.yaml: {knob} {text} is a file but not GGUF: give a folder or a .gguf file")
        return Origin(path.parent, path.name)
    hub = _HUB.fullmatch(text)
    if hub is None:
        raise ParamsError(
            f"params.yaml: {knob} {text} is no folder, no .gguf file and not of the form owner/name@revision: correct "
            "it (of a model on the hub the revision is the commit's 40 characters)"
        )
    if not _COMMIT.fullmatch(hub["revision"]):
        raise ParamsError(
            f"params.yaml: {knob} {text} names no commit: give the 40 characters of one after the @, since branches "
            "and tags move"
        )
    return Origin(_download(hub["name"], hub["revision"], knob), None)


def _download(name: str, revision: str, knob: str) -> Path:
    from huggingface_hub import snapshot_download  # here: most runs read nothing from a hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(_NEEDED)))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError, TimeoutError):
        raise DataError(
            f"{knob}: {name} is not in the local cache and the hub cannot be reached: where there is a network, run "
            f"`hf download {name} --revision {revision} --local-dir models/{name.partition('/')[2]}`, copy that folder "
            f"here and set {knob} to it"
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no"
        raise DataError(
            f"{knob}: the hub answered {status} for {name} at {revision}: check both, and HF_TOKEN if it is private"
        ) from None
