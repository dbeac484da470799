"""Preference sets of any kind as pairs, split so that no prompt is on two sides."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import Field, model_validator

from forgeline.core.errors import DataError
from forgeline.core.params import Section
from forgeline.core.records import Message, PreferencePair
from forgeline.core.run import Counts
from forgeline.sources.hpo_preferences import hpo_pairs
from forgeline.sources.hpo_split import Fraction, HpoParams
from forgeline.sources.params import Name
from forgeline.sources.preference_formats.pairs import Candidate
from forgeline.sources.preference_formats.params import FileSetParams
from forgeline.sources.preference_formats.reading import ReadPreferences, read_preferences
from forgeline.text.funnel import DroppedRow, count_reasons, dropped_table
from forgeline.text.split import SPLITS, Split, assign_split, unit_hash

Limit = Annotated[int, Field(ge=2)]


class HpoSetParams(Section):
    """Section `preferences.sets.<name>` with `kind: hpo`: the packaged pairs, split by `hpo`.

    Attributes:
        kind: Chooses this section.
        path: The descriptor of the ontology.
    """

    kind: Literal["hpo"]
    path: str


PreferenceSetParams = Annotated[HpoSetParams | FileSetParams, Field(discriminator="kind")]


class PreferenceParams(Section):
    """Section `preferences`.

    Attributes:
        sets: The preference sets by name, in order; of pairs that are in two of them the first stays.
        max_train: Most training pairs of each set; the seed chooses which stay.
        max_validation: Most validation pairs of each set.
        max_test: Most test pairs of each set.
        validation_fraction: Expected share of a file's prompts in validation.
        test_fraction: Expected share of a file's prompts in test.
        seed: Chooses wrong answers, what a limit keeps, and the split of files.
    """

    sets: dict[Name, PreferenceSetParams]
    max_train: Limit
    max_validation: Limit
    max_test: Limit
    validation_fraction: Fraction
    test_fraction: Fraction
    seed: int

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> "PreferenceParams":
        if not self.sets:
            raise ValueError("sets is empty: name at least one preference set")
        if self.validation_fraction + self.test_fraction >= 1.0:
            raise ValueError("validation_fraction + test_fraction must be below 1: lower one of them")
        return self

    @property
    def limits(self) -> dict[Split, int]:
        """Most pairs of a set in each split."""
        return {"train": self.max_train, "validation": self.max_validation, "test": self.max_test}


@dataclass(frozen=True)
class PreferenceResult:
    """What the stage writes.

    Attributes:
        splits: The pairs of each split.
        dropped: Pairs and answers that were dropped for what they are. Pairs over a limit are only counted: they follow
            from the input and the seed.
        counts: Of all sets together.
        per_task: Kept pairs: task -> split -> number.
        sets: Of each set of files: format, whether it was detected, rows, questions without a pair.
    """

    splits: dict[Split, list[PreferencePair]]
    dropped: pa.Table
    counts: Counts
    per_task: dict[str, dict[str, int]]
    sets: dict[str, dict[str, Any]]


@dataclass
class _Tally:
    """What becomes of the pairs of all sets."""

    splits: dict[Split, list[PreferencePair]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    dropped: list[DroppedRow] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)
    num_in: int = 0
    over_limit: int = 0


def build_preferences(params: PreferenceParams, hpo: HpoParams) -> PreferenceResult:
    """Reads or builds the pairs of all sets, drops what nothing can be learned from, and splits the rest.

    Raises:
        DataError: A file cannot be read or is in no format (file and line are named), or a split is left without pairs.
        FingerprintError: Packaged data are not the pinned ones.
    """
    tally = _Tally()
    sets: dict[str, dict[str, Any]] = {}
    for name, chosen in params.sets.items():
        if isinstance(chosen, HpoSetParams):
            built, num_built = hpo_pairs(Path(chosen.path), name, params.limits, hpo, params.seed)
            tally.num_in += num_built
            tally.over_limit += num_built - sum(map(len, built.values()))
            for split, pairs in built.items():
                tally.splits[split] += pairs
                tally.seen |= {_content(pair): pair.pair_id for pair in pairs}
        else:
            read = read_preferences(Path(chosen.path), chosen.format, chosen.graded, params.seed)
            _add_file(name, read, params, tally)
            sets[name] = _figures(read)
    _require_pairs(tally, params)
    dropped = dropped_table(tally.dropped)
    num_kept = sum(len(pairs) for pairs in tally.splits.values())
    counts = Counts(tally.num_in, num_kept, {**count_reasons(dropped), "over_limit": tally.over_limit})
    return PreferenceResult(tally.splits, dropped, counts, _per_task(tally.splits), sets)


def _figures(read: ReadPreferences) -> dict[str, Any]:
    figures = {"format": read.format, "is_detected": read.is_detected, "num_rows": read.num_rows}
    return figures | ({"questions_without_pair": read.questions_without_pair} if read.format == "graded" else {})


def _add_file(name: str, read: ReadPreferences, params: PreferenceParams, tally: _Tally) -> None:
    """Sorts the candidates of one set into splits and dropped rows."""
    kept: dict[Split, list[PreferencePair]] = {split: [] for split in SPLITS}
    for candidate in read.candidates:
        pair = _pair(name, candidate)
        reason, detail = _fate(candidate, pair, tally.seen)
        if reason is None:
            split = assign_split(pair.split_key, params.seed, params.validation_fraction, params.test_fraction)
            kept[split].append(pair)
        else:
            text = "\n".join(f"{turn['role']}: {turn['content']}" for turn in pair.prompt)
            text += f"\nchosen: {pair.chosen}\nrejected: {pair.rejected}"
            tally.dropped.append(DroppedRow(pair.pair_id, text, name, reason, detail))
    tally.num_in += len(read.candidates) + read.over_limit
    tally.over_limit += read.over_limit
    for split, pairs in kept.items():
        chosen = _limited(pairs, params.limits[split], params.seed)
        tally.over_limit += len(pairs) - len(chosen)
        tally.splits[split] += chosen


def _pair(source: str, candidate: Candidate) -> PreferencePair:
    key = _prompt_key(candidate.prompt)
    return PreferencePair.make(
        source, source, key, candidate.prompt, candidate.chosen, candidate.rejected, candidate.margin
    )


def _prompt_key(prompt: list[Message]) -> str:
    """The prompt but for case and white space: what is the same to a reader is never on two sides of a split."""
    return json.dumps([[turn["role"], _folded(turn["content"])] for turn in prompt], ensure_ascii=False)


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


def _fate(candidate: Candidate, pair: PreferencePair, seen: dict[str, str]) -> tuple[str | None, str]:
    """Why a pair is dropped, with a detail, or None; `seen` maps the content of earlier pairs to their ids."""
    if candidate.reason is not None:
        return candidate.reason, candidate.detail
    empty = [name for name in ("chosen", "rejected") if not getattr(pair, name).strip()]
    if empty:
        return "empty_answer", " and ".join(empty)
    if pair.chosen.split() == pair.rejected.split():
        return "equal_answers", ""
    content = _content(pair)
    if content in seen:
        return "duplicate", seen[content]
    seen[content] = pair.pair_id
    return None, ""


def _content(pair: PreferencePair) -> str:
    """What two pairs have in common that differ in case and white space alone."""
    return "\n".join([_prompt_key(pair.prompt), _folded(pair.chosen), _folded(pair.rejected)])


def _limited(pairs: list[PreferencePair], limit: int, seed: int) -> list[PreferencePair]:
    """So many pairs, chosen by hash, in their order."""
    order = sorted(range(len(pairs)), key=lambda place: unit_hash(pairs[place].pair_id, seed))
    return [pairs[place] for place in sorted(order[:limit])]


def _require_pairs(tally: _Tally, params: PreferenceParams) -> None:
    empty = [split for split in SPLITS if not tally.splits[split]]
    if empty:
        reasons = Counter(row.reason for row in tally.dropped)
        dropped = ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items())) or "nothing"
        raise DataError(
            f"preferences: of {tally.num_in} pairs none is left for {' and '.join(empty)} (dropped: {dropped}): add "
            "pairs with other prompts, or raise preferences.validation_fraction and preferences.test_fraction"
        )


def _per_task(kept: Mapping[Split, list[PreferencePair]]) -> dict[str, dict[str, int]]:
    found = {split: Counter(pair.task for pair in pairs) for split, pairs in kept.items()}
    tasks = sorted({task for counter in found.values() for task in counter})
    return {task: {split: found[split][task] for split in SPLITS} for task in tasks}
