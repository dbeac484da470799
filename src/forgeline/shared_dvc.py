"""Lets DVC do once what it does for every stage, so that a pipeline with nothing to do is told so in about a second.

Each of these replaces a function of DVC by one with the same answer; what DVC decides, and from what, stays its own.
They hold for this process alone. What they save on the default pipeline of 32 stages is in docs/lab-notebook.md.
"""

import gc
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any

_COLLECT_AFTER_OBJECTS = 100_000


def share_dvc_work() -> None:
    """Applies all of them; a second call would wrap them again."""
    # DVC builds ten thousands of objects that live until it ends: collecting garbage among them finds little.
    gc.set_threshold(_COLLECT_AFTER_OBJECTS, *gc.get_threshold()[1:])
    _list_entry_points_once()  # first: the others import what asks for them
    _parse_each_text_once()
    _validate_each_text_once()
    _lock_each_path_once()
    _load_each_stage_once()


def _list_entry_points_once() -> None:
    """Plugins are looked for in the metadata of all installed packages, by fsspec once and by networkx twice."""
    listed = metadata.entry_points()

    def entry_points(**wanted: Any) -> Any:
        return listed.select(**wanted) if wanted else listed

    metadata.entry_points = entry_points


def _parse_each_text_once() -> None:
    """DVC reads params.yaml once for each stage that has params, and dvc.lock twice."""
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _yaml

    parse = _yaml.parse_yaml
    parsed: dict[str, bytes] = {}

    def parse_yaml(text: str, path: str, typ: str = "safe") -> Any:
        if typ != "safe":  # keeps comments, to be written again: such documents are changed
            return parse(text, path, typ)
        if text not in parsed:
            parsed[text] = pickle.dumps(parse(text, path, typ))
        return pickle.loads(parsed[text])

    _yaml.parse_yaml = parse_yaml
    strictyaml.parse_yaml = parse_yaml


def _validate_each_text_once() -> None:
    """DVC holds each of its files against its schema as often as it reads it."""
    from dvc.utils import strictyaml

    validate = strictyaml.validate
    valid: set[tuple[str, int]] = set()

    def validate_once(data: Any, schema: Any, text: str | None = None, **options: Any) -> Any:
        if text is not None and (text, id(schema)) in valid:
            return data
        validated = validate(data, schema, text=text, **options)
        if text is not None:
            valid.add((text, id(schema)))
        return validated

    strictyaml.validate = validate_once


def _lock_each_path_once() -> None:
    """DVC notes in a file which paths a stage reads and writes, four times over for a stage that did not change.

    Asking again for paths that this process holds already, to read or to write, changes nothing for anybody.
    """
    from dvc import rwlock as locks

    lock = locks.rwlock
    held: list[tuple[frozenset[str], frozenset[str]]] = []

    @contextmanager
    def rwlock(
        folder: str, fs: Any, command: str, read: Sequence[str], write: Sequence[str], hardlink: bool
    ) -> Iterator[None]:
        written = {path for _, writes in held for path in writes}
        known = written.union(*(reads for reads, _ in held))
        if held and known.issuperset(read) and written.issuperset(write):
            yield
            return
        with lock(folder, fs, command, read, write, hardlink):
            held.append((frozenset(read), frozenset(write)))
            try:
                yield
            finally:
                held.pop()

    locks.rwlock = rwlock


def _load_each_stage_once() -> None:
    """DVC makes its stages once to know those of dvc.yaml, and once more, all of them, for the graph."""
    from dvc.dvcfile import PROJECT_FILE
    from dvc.repo import reproduce

    collect = reproduce.collect_stages

    def collect_stages(repo: Any, targets: Sequence[str], recursive: bool = False, glob: bool = False) -> list[Any]:
        if list(targets) == [PROJECT_FILE]:
            path = repo.fs.abspath(PROJECT_FILE)
            if stages := [stage for stage in repo.index.stages if stage.path == path]:
                return stages
        found: list[Any] = collect(repo, targets, recursive, glob)
        return found

    reproduce.collect_stages = collect_stages
