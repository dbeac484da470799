"""dvc.yaml as data: what every stage is called, reads and writes.

DVC's own index gives the same and takes a second; a stage that only wants its own deps, to fingerprint itself, cannot
pay that. Only what our dvc.yaml uses is understood: `foreach` over a list, a mapping or `${a.b}` of params.yaml, and
`${item}`, `${key}`, `${item.x}`, `${a.b}` inside. A test holds this reader against DVC's.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgeline.core.params import PARAMS_FILE, load_all, plain, read_yaml


@dataclass(frozen=True)
class PipelineStage:
    """One stage as DVC runs it; `address` is DVC's name for it, `evaluate@sft` for instance."""

    address: str
    command: str
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    params: tuple[str, ...]

    @property
    def name(self) -> str:
        """The word before the `@`."""
        return self.address.partition("@")[0]


def read_pipeline(root: Path = Path(), templates: bool = False) -> list[PipelineStage]:
    """Every stage of `root`/dvc.yaml in file order, with `foreach` groups expanded.

    Args:
        root: The repository.
        templates: Give a group that has no members now one stage in their place, with the key `*`: what looks at a
            stage's code or documentation would otherwise not see it.
    """
    params = load_all(root / PARAMS_FILE)
    stages = plain(read_yaml(root / "dvc.yaml"))["stages"]
    return [stage for name, definition in stages.items() for stage in _expand(name, definition, params, templates)]


def find_stage(address: str, root: Path = Path()) -> PipelineStage | None:
    """The stage that DVC calls `address`, or None."""
    return next((stage for stage in read_pipeline(root) if stage.address == address), None)


def _expand(
    name: str, definition: dict[str, Any], params: dict[str, Any], templates: bool = False
) -> Iterator[PipelineStage]:
    if "foreach" not in definition:
        yield _stage(name, definition, params)
        return
    over = definition["foreach"]
    if isinstance(over, str):
        over = _lookup(over.removeprefix("${").removesuffix("}"), params)
    pairs = list(over.items()) if isinstance(over, dict) else [(item, item) for item in over]
    if not pairs and templates:
        pairs = [("*", {})]
    for key, item in pairs:
        yield _stage(f"{name}@{key}", definition["do"], {**params, "key": key, "item": item})


def _stage(address: str, definition: dict[str, Any], context: dict[str, Any]) -> PipelineStage:
    def fill(text: str) -> str:
        return re.sub(r"\$\{([^}]+)\}", lambda match: str(_lookup(match[1], context)), text)

    def paths(field: str) -> tuple[str, ...]:
        return tuple(
            fill(entry if isinstance(entry, str) else next(iter(entry))) for entry in definition.get(field, [])
        )

    outs = paths("outs") + paths("metrics") + paths("plots")
    return PipelineStage(address, fill(definition["cmd"]), paths("deps"), outs, paths("params"))


def _lookup(dotted: str, context: dict[str, Any]) -> Any:
    value: Any = context
    for part in dotted.strip().split("."):
        value = value[part]
    return value
