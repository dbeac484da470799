"""Where an output came from: dvc.lock followed from any output back to the sources."""

import difflib
import hashlib
import json
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.tree import Tree

from forgeline.core.errors import DataError
from forgeline.core.params import plain, read_yaml
from forgeline.core.storage import read_json

LOCK_FILE = Path("dvc.lock")
CODE_FOLDERS = ("src/", "stages/")
_UNCOMMITTED = "0" * 40  # what git blame calls lines that are not committed
_BLAME_HEADER = re.compile(r"[0-9a-f]{40} \d+ \d+")


@dataclass(frozen=True)
class Artefact:
    """A path and DVC's hash of its content."""

    path: str
    md5: str


@dataclass(frozen=True)
class LineageStep:
    """One stage on the way from the sources to an output.

    Attributes:
        stage: Its address.
        command: What DVC ran.
        params: Sections of params.yaml and their values when it ran.
        inputs: Data it read.
        code: Source files and folders it depended on.
        outputs: What it wrote.
        revision: Commit in which its dvc.lock entry last changed; empty when that is not committed yet.
        sources: Facts of packaged sources among its inputs, by path.
    """

    stage: str
    command: str
    params: Mapping[str, Any]
    inputs: Sequence[Artefact]
    code: Sequence[Artefact]
    outputs: Sequence[Artefact]
    revision: str
    sources: Mapping[str, Mapping[str, Any]]


def lineage(path: Path, lock_file: Path = LOCK_FILE, commit: str = "") -> list[LineageStep]:
    """The stages that made `path`, the last one first, each once, back to inputs that no stage makes.

    Args:
        path: An output of a stage.
        lock_file: Where dvc.lock is.
        commit: The commit whose dvc.lock is meant; without it, the file as it lies here.

    Raises:
        DataError: No stage in dvc.lock has such an output; the message names the nearest ones.
    """
    stages, first_lines = _located_stages(lock_file, commit)
    wanted = path.as_posix().rstrip("/")
    names = chain(wanted, stages)
    if not names:
        made = [str(out["path"]) for entry in stages.values() for out in entry.get("outs", [])]
        near = difflib.get_close_matches(wanted, made, n=5, cutoff=0.4)
        hint = f": did you mean {', '.join(near)}?" if near else ": `dvc stage list` shows what there is"
        raise DataError(f"{wanted} is not an output in {lock_file}{hint}")
    revisions = _entry_revisions(lock_file, first_lines, commit)
    return [_step(name, stages[name], revisions[name]) for name in names]


def changed_outputs(steps: Sequence[LineageStep]) -> dict[str, str]:
    """What lies here now where a stage's output was: the paths whose content is not what dvc.lock says.

    Returns:
        The md5 of the present content by path; empty for what is not here.
    """
    outputs = {out.path: out.md5 for step in steps for out in step.outputs if out.md5}
    now = {path: dvc_md5(Path(path)) for path in outputs}
    return {path: digest for path, digest in now.items() if digest != outputs[path]}


def chain(path: str, stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The addresses of the stages that made an output, the last one first, each once; nothing when none does."""
    maker = {str(out["path"]): name for name, entry in stages.items() for out in entry.get("outs", [])}
    found: dict[str, None] = {}
    queue = [maker[path]] if path in maker else []
    while queue:
        name = queue.pop(0)
        if name not in found:
            found[name] = None
            deps = [str(dep["path"]) for dep in stages[name].get("deps", []) if not is_code(str(dep["path"]))]
            queue += sorted({maker[out] for dep in deps for out in _outputs_in(dep, maker)})
    return list(found)


def _outputs_in(path: str, outputs: Iterable[str]) -> list[str]:
    """The outputs that a dependency on `path` reads: itself, or those in the folder it names."""
    return [out for out in outputs if out == path or out.startswith(f"{path}/")]


def locked_stages(lock_file: Path = LOCK_FILE) -> dict[str, dict[str, Any]]:
    """The stage entries of dvc.lock.

    Raises:
        DataError: There is no dvc.lock.
    """
    if not lock_file.is_file():
        raise DataError(f"{lock_file} does not exist: run `dvc repro` first")
    return dict((plain(read_yaml(lock_file)) or {}).get("stages", {}))


def locked_stages_of(commit: str, lock_file: Path = LOCK_FILE) -> dict[str, dict[str, Any]]:
    """The stage entries of a commit's dvc.lock; nothing where it has none."""
    return _located_stages(lock_file, commit)[0]


def locked_stages_now(lock_file: Path = LOCK_FILE) -> dict[str, dict[str, Any]]:
    """The stage entries of dvc.lock as far as there are any: on a first run the file grows while stages finish."""
    return locked_stages(lock_file) if lock_file.is_file() else {}


def locked_params(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The params that a dvc.lock entry records."""
    return {name: value for file in entry.get("params", {}).values() for name, value in file.items()}


def lineage_tree(path: Path, steps: Sequence[LineageStep], changed: Mapping[str, str] | None = None) -> Tree:
    """The steps as a tree for the terminal: the output at the root, its stage's inputs as branches.

    A stage that several inputs share is written out once and referred to afterwards.

    Args:
        path: The output.
        steps: Its `lineage`.
        changed: What `changed_outputs` says of the files here; None leaves them out of it.
    """
    by_output = {out.path: step for step in steps for out in step.outputs}
    hashes = {out.path: out.md5 for step in steps for out in step.outputs}
    wanted = path.as_posix().rstrip("/")
    root = Tree(f"[bold]{wanted}[/bold]  {_hash_line(wanted, hashes.get(wanted, ''), changed)}")
    for name, value in _model_facts(path).items():
        root.add(f"[dim]{name}[/dim] {value}")
    shown: set[str] = set()

    def grow(branch: Tree, step: LineageStep) -> None:
        if step.stage in shown:
            branch.add(f"[dim]made by {step.stage} (see above)[/dim]")
            return
        shown.add(step.stage)
        node = branch.add(f"[cyan]{step.stage}[/cyan]  code {_code_line(step)}")
        for section, values in step.params.items():
            node.add(f"[dim]params[/dim] {section} = {_compact(values)}")
        for artefact in step.inputs:
            leaf = node.add(f"{artefact.path}  {_hash_line(artefact.path, artefact.md5, changed)}")
            for name, value in step.sources.get(artefact.path, {}).items():
                leaf.add(f"[dim]{name}[/dim] {value}")
            makers = {by_output[out].stage: by_output[out] for out in _outputs_in(artefact.path, by_output)}
            for maker in makers.values():
                grow(leaf, maker)

    grow(root, steps[0])
    return root


def _located_stages(lock_file: Path, commit: str) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """The stage entries of a dvc.lock, and the line, counted from 0, in which each begins."""
    if not commit:
        if not lock_file.is_file():
            raise DataError(f"{lock_file} does not exist: run `dvc repro` first")
        document = read_yaml(lock_file) or {}
    else:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / lock_file.name
            copy.write_text(_git("show", f"{commit}:{lock_file.as_posix()}"), encoding="utf-8")
            document = read_yaml(copy) or {}
    stages = document.get("stages")
    return (plain(stages), {name: stages.lc.key(name)[0] for name in stages}) if stages else ({}, {})


def _entry_revisions(lock_file: Path, first_lines: Mapping[str, int], commit: str) -> dict[str, str]:
    """The commit that last touched a line of each stage's entry; empty when a line is not committed.

    `git blame` answers for all entries at once, which comparing parsed versions of the file would not.
    """
    starts = sorted((line, name) for name, line in first_lines.items())
    blamed = _blame(lock_file, commit)
    newest_first = _git("rev-list", "--topo-order", commit or "HEAD", "--", str(lock_file)).split()
    ends = [line for line, _ in starts[1:]] + [len(blamed)]
    found = {}
    for (start, name), end in zip(starts, ends, strict=True):
        commits = set(blamed[start:end])
        known = next((commit for commit in newest_first if commit in commits), "")
        found[name] = "" if _UNCOMMITTED in commits else known
    return found


def _blame(file: Path, commit: str) -> list[str]:
    """The commit of every line of `file`; nothing when git does not know the file."""
    lines = []
    current = ""
    for line in _git("blame", "--porcelain", *([commit] if commit else []), "--", str(file)).splitlines():
        if line.startswith("\t"):
            lines.append(current)
        elif _BLAME_HEADER.match(line):
            current = line.split(" ", 1)[0]
    return lines


def dvc_md5(path: Path) -> str:
    """The md5 by which DVC knows a file or folder as it lies here; empty when nothing does.

    A folder's is that of the list of its files, with `.dir` behind it.
    """
    if path.is_file():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if not path.is_dir():
        return ""
    files = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    listed = [{"md5": dvc_md5(path / name), "relpath": name} for name in files]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def code_revision() -> str:
    """The checked-out commit, with `+ uncommitted changes` where tracked files differ; empty without a commit."""
    head = _git("rev-parse", "--verify", "--quiet", "HEAD").strip()
    if not head:
        return ""
    changed = _git("status", "--porcelain", "--untracked-files=no").strip()
    return f"{head}{' + uncommitted changes' if changed else ''}"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True)
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else ""


def _step(name: str, entry: Mapping[str, Any], revision: str) -> LineageStep:
    deps = [Artefact(dep["path"], str(dep.get("md5", ""))) for dep in entry.get("deps", [])]
    outs = [Artefact(out["path"], str(out.get("md5", ""))) for out in entry.get("outs", [])]
    inputs = [dep for dep in deps if not is_code(dep.path)]
    return LineageStep(
        stage=name,
        command=entry["cmd"],
        params=locked_params(entry),
        inputs=inputs,
        code=[dep for dep in deps if is_code(dep.path)],
        outputs=outs,
        revision=revision,
        sources={dep.path: facts for dep in inputs if (facts := _source_facts(Path(dep.path)))},
    )


def is_code(path: str) -> bool:
    """Whether a dependency is source code; the `.json` descriptors of packaged sources are data."""
    return path.startswith(CODE_FOLDERS) and not path.endswith(".json")


def _source_facts(path: Path) -> dict[str, Any]:
    """Package, release and file hashes when `path` is the descriptor of a packaged source, else nothing."""
    if path.suffix != ".json" or not path.is_file():
        return {}
    content = read_json(path)
    if not isinstance(content, dict) or "package" not in content:
        return {}
    facts = {name: content[name] for name in ("package", "version", "release", "license") if name in content}
    files = {f"{role} sha256": f"{file['sha256']}  {file['path']}" for role, file in content.get("files", {}).items()}
    return {**facts, **files}


def _model_facts(path: Path) -> dict[str, str]:
    """What a model's own lineage.json adds to dvc.lock; nothing for other outputs."""
    file = path / "lineage.json"
    if not file.is_file():
        return {}
    content = read_json(file)
    environment = content.get("environment", {})
    versions = {**environment.get("libraries", {}), **content.get("optional_libraries", {})}
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    facts = {
        "tokenizer": content.get("tokenizer"),
        "code sha256": content.get("code_sha256"),
        "python": environment.get("python"),
        "libraries": libraries,
        "constraints sha256": environment.get("constraints_sha256"),
    }
    return {name: str(value) for name, value in facts.items() if value}


def _code_line(step: LineageStep) -> str:
    return (
        f"revision {step.revision[:12]}" if step.revision else f"[yellow]not committed[/yellow], {code_revision()[:12]}"
    )


def _hash_line(path: str, md5: str, changed: Mapping[str, str] | None) -> str:
    now = (changed or {}).get(path)
    if now is None:
        return f"[dim]md5 {md5}[/dim]" if md5 else ""
    if not now:
        return f"[dim]md5 {md5}[/dim], [yellow]not here[/yellow]"
    return f"[red]CHANGED since its stage wrote it: md5 {now} here, {md5} in {LOCK_FILE}[/red]"


def _compact(values: object) -> str:
    if isinstance(values, Mapping):
        return "{" + ", ".join(f"{name}: {_compact(value)}" for name, value in values.items()) + "}"
    return "null" if values is None else str(values)
