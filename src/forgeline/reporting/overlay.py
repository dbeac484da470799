"""Training curves of experiments and commits laid over each other, with the parameters that set them apart."""

import csv
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from forgeline.core.errors import ForgelineError
from forgeline.core.params import plain, read_yaml
from forgeline.reporting.plots import Line, line_chart
from forgeline.reporting.sections import axis_label, is_wide, parse_history, prominent, thin
from forgeline.tracking.git import Revision, committed_revisions, workspace

HISTORY = "metrics/history"
_POINTS = 100  # of one curve
_LINES_PER_COLOUR = 8  # s1 … s8, then the same colours dashed
_SECTION_START = re.compile(r"^(?=[^\s#-])", re.MULTILINE)
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Experiment:
    """One state of the repository.

    Attributes:
        revision: Its name and commit.
        histories: The curves of each training stage, by column.
        changes: Parameters of another value than in the files here: name, value there, value here.
        num_unshared: Parameters that only one of the two has, as those of methods that were not chosen.
    """

    revision: Revision
    histories: Mapping[str, Mapping[str, Points]]
    changes: Sequence[tuple[str, str, str]]
    num_unshared: int


@dataclass(frozen=True)
class Overlay:
    """What the page shows of experiments; nothing to compare leaves `experiments` empty.

    Attributes:
        experiments: Each with its CSS class.
        charts: Stage, figure and drawing.
        num_left_out: Older states with curves of their own that are not shown.
    """

    experiments: Sequence[tuple[str, Experiment]]
    charts: Sequence[tuple[str, str, Markup]]
    num_left_out: int
    max_changes: int = 12  # of parameters, shown for one state


def overlay(max_revisions: int) -> Overlay:
    """The files here and the newest other states whose training curves differ from them and from each other.

    Args:
        max_revisions: How many states, with the one here.

    Raises:
        DataError: A history file is broken.
    """
    if max_revisions < 2:
        return Overlay([], [], 0)
    others = _with_own_curves(committed_revisions())
    params = Path("params.yaml").read_text(encoding="utf-8")
    found = [_read(workspace(), params)]
    num_read = 0
    for revision in others:
        num_read += 1
        try:
            experiment = _read(revision, params)
        except ForgelineError:
            continue  # a file of an old commit that this code cannot read is no reason to show nothing
        if all(experiment.histories != known.histories for known in found):
            found.append(experiment)
        if len(found) == max_revisions:
            break
    if len(found) < 2:
        return Overlay([], [], 0)
    styled = [(_style(number), experiment) for number, experiment in enumerate(found)]
    return Overlay(styled, list(_charts(styled)), len(others) - num_read)


def _with_own_curves(revisions: Sequence[Revision]) -> list[Revision]:
    """Newest first, one for each state of the history folder: most commits leave the curves as they were."""
    ordered = sorted(revisions, key=lambda revision: (revision.timestamp, revision.name), reverse=True)
    asked = "".join(f"{revision.commit}:{HISTORY}\n" for revision in ordered)
    answer = _git("cat-file", "--batch-check", text=asked).splitlines()
    distinct: dict[str, Revision] = {}
    for revision, line in zip(ordered, answer, strict=False):
        tree, _, kind = line.partition(" ")
        if kind.startswith("tree") and (tree not in distinct or revision.kind == "experiment"):
            distinct[tree] = revision  # an experiment's name says more than a commit's
    return list(distinct.values())


def _read(revision: Revision, params: str) -> Experiment:
    there, here = _unequal_sections(revision.read("params.yaml") or "", params)
    names = sorted(here.keys() & there.keys())
    changes = [(name, str(there[name]), str(here[name])) for name in names if there[name] != here[name]]
    histories = {}
    for path in _history_files(revision):
        text = revision.read(path)
        if text is not None:
            columns = parse_history(csv.DictReader(text.splitlines()), f"{path} of {revision.name}")
            histories[Path(path).stem] = {name: thin(points, _POINTS) for name, points in columns.items()}
    return Experiment(revision, histories, changes, len(here.keys() ^ there.keys()))


def _history_files(revision: Revision) -> list[str]:
    if revision.kind == "workspace":
        return sorted(path.as_posix() for path in Path(HISTORY).glob("*.csv"))
    listed = _git("ls-tree", "--name-only", revision.commit, f"{HISTORY}/")
    return [line for line in listed.splitlines() if line.endswith(".csv")]


def _unequal_sections(*texts: str) -> list[dict[str, Any]]:
    """Parameters of several params.yaml by dotted name, without the sections whose text is the same in all.

    Most sections are, and the parser that names lines of errors is slow.
    """
    sections = [_SECTION_START.split(text) for text in texts]
    shared = set(sections[0]).intersection(*sections[1:])
    return [_parameters("".join(part for part in parts if part not in shared)) for parts in sections]


def _parameters(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    with tempfile.TemporaryDirectory() as folder:  # the reader names the file in its messages, so it wants one
        file = Path(folder) / "params.yaml"
        file.write_text(text, encoding="utf-8")
        return dict(_leaves(plain(read_yaml(file)) or {}))


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _charts(experiments: Sequence[tuple[str, Experiment]]) -> Iterator[tuple[str, str, Markup]]:
    """The prominent figures of stages on which at least two states differ, one drawing each."""
    stages = dict.fromkeys(stage for _, experiment in experiments for stage in experiment.histories)
    for stage in stages:
        having = [(style, experiment) for style, experiment in experiments if stage in experiment.histories]
        if all(experiment.histories[stage] == having[0][1].histories[stage] for _, experiment in having):
            continue
        columns = dict.fromkeys(name for _, experiment in having for name in experiment.histories[stage])
        for column in prominent(list(columns)):
            lines = [
                Line(experiment.revision.name, experiment.histories[stage][column], style)
                for style, experiment in having
                if column in experiment.histories[stage]
            ]
            if len(lines) < 2:
                continue
            wide = is_wide(column, lines)
            chart = line_chart(f"{stage}: {column}", lines, "step", axis_label(column, wide), wide)
            yield stage, column, Markup(chart)


def _style(number: int) -> str:
    dashes = ("", " dashed", " dotted")[number // _LINES_PER_COLOUR % 3]
    return f"s{number % _LINES_PER_COLOUR + 1}{dashes}"


def _git(*arguments: str, text: str | None = None) -> str:
    """What git prints; nothing where it fails, outside a repository for instance."""
    done = subprocess.run(["git", *arguments], capture_output=True, input=text.encode() if text else None)
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else ""
