"""Normalises documents, drops those that are not worth learning from, and masks personal data.

In this order: normalise, length, language, quality rules (those of the document's language), masking. A kept document
gets the id of its new text; a dropped one keeps the id and text it came with, and tells the rule and what was measured.

The common path handles a shard as whole Arrow columns in compiled code; only documents that need it become Python
objects. So memory is a small multiple of the shard for each worker.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import compress
from operator import attrgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forgeline.core.progress import announce_warning
from forgeline.core.records import DOCUMENTS, DROPPED, document_id, documents_table
from forgeline.core.shards import shard_paths
from forgeline.core.storage import read_table, write_table
from forgeline.runner.tasks import run_tasks
from forgeline.text.buffers import one_array, replaced
from forgeline.text.clean_params import AUTO, DEFAULT_PROFILE, CleanParams
from forgeline.text.clean_report import TOO_SHORT, CleanReport
from forgeline.text.language import UNDETERMINED, Languages, check_known, identify, unpack_model
from forgeline.text.measure import text_figures
from forgeline.text.normalize import normalize_texts
from forgeline.text.pii import mask_texts
from forgeline.text.quality.assumptions import in_doubt
from forgeline.text.quality.params import FAMILIES, QualityParams
from forgeline.text.quality.rules import REASONS, Judgement, judge
from forgeline.text.quality.scripts import dense

# Of one shard: too few tell nothing, more are not needed.
_FEWEST_SUSPECTS = 10
_MOST_SUSPECTS = 50

Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CleanTask:
    """One shard to clean: where it is, where its two parts go, and how. `language` is the source's."""

    documents: Path
    kept: Path
    dropped: Path
    language: str
    params: CleanParams

    @property
    def megabytes(self) -> float:
        """Size of the shard's file."""
        return self.documents.stat().st_size / 1e6


@dataclass(frozen=True)
class CleanResult:
    """Kept documents and dropped ones, each in the order they came, and where all of them went."""

    documents: pa.Table
    dropped: pa.Table
    report: CleanReport


def clean_tasks(documents: Path, kept: Path, dropped: Path, language: str, params: CleanParams) -> list[CleanTask]:
    """One task for every shard of a source; shards keep their names.

    Raises:
        DataError: There are no documents.
        ParamsError: A language that is wanted cannot be told.
    """
    if params.languages is not None:
        check_known(params.languages)
    for folder in (kept, dropped):
        folder.mkdir(parents=True, exist_ok=True)
    return [
        CleanTask(shard, kept / shard.name, dropped / shard.name, language, params) for shard in shard_paths(documents)
    ]


def clean_source(
    source: str, documents: Path, kept: Path, dropped: Path, language: str, params: CleanParams
) -> CleanReport:
    """Cleans all shards of a source, and tells the user what looks wrong with its rules or language.

    Args:
        source: Its name, for messages.
        documents: Folder of shards.
        kept: Where a shard of what stays goes for each of them.
        dropped: Where a shard of what leaves goes.
        language: What the source is declared to be in.
        params: Section `clean`.

    Raises:
        DataError: There are no documents.
        ParamsError: A language that is wanted cannot be told.
    """
    tasks = clean_tasks(documents, kept, dropped, language, params)
    report = CleanReport()
    load = partial(_load_ahead, language, params)
    for shard in run_tasks(clean_shard, tasks, f"clean {source}", "MB", attrgetter("megabytes"), load):
        report.add(shard)
    for warning in report.warnings(source):
        announce_warning(warning)
    return report


def _load_ahead(language: str, params: CleanParams) -> None:
    """Loads kernels, and the language model, which most sources of more than a shard need, in part on another core."""
    text = "Some text."
    with ThreadPoolExecutor(1) as pool:
        pool.submit(unpack_model)
        clean(documents_table([text], "none"), language, params)
    identify(pa.array([text]))


def clean_shard(task: CleanTask) -> CleanReport:
    """Cleans one shard: reads it, and writes a shard of what stays and one of what leaves.

    Raises:
        DataError: The shard is missing or is not one of documents.
    """
    result = clean(read_table(task.documents, DOCUMENTS), task.language, task.params)
    write_table(task.kept, result.documents)
    write_table(task.dropped, result.dropped)
    return result.report


def clean(documents: pa.Table, language: str, params: CleanParams) -> CleanResult:
    """Cleans documents of one source.

    Args:
        documents: In the schema `records.DOCUMENTS`, with less than 2 GiB of text.
        language: ISO 639 code of the language they are in, or `auto` if that has to be found out.
        params: Section `clean`.
    """
    report = CleanReport(num_in=documents.num_rows)
    original = one_array(documents["text"])
    normalized = normalize_texts(original, params.normal_form)
    report.num_repaired = normalized.num_repaired
    batch = _Batch(normalized.texts)
    _drop_by_length(batch, language, params, report)
    _find_languages(batch, language, params, report)
    _apply_rules(batch, language, params, report)
    masked = mask_texts(batch.texts, params.pii)
    report.pii.update(masked.counts)
    kept = _kept(documents, original, batch.positions, masked.texts)
    report.figures.update(text_figures(kept))
    dropped = batch.dropped(documents)
    report.dropped.update(dropped["reason"].to_pylist())
    return CleanResult(kept, dropped, report)


class _Batch:
    """Documents on their way through the rules.

    Attributes:
        texts: Of the documents that are left.
        positions: Where each of them stood in the shard.
        languages: What each of them is in.
    """

    def __init__(self, texts: pa.Array) -> None:
        self.texts = texts
        self.positions: Positions = np.arange(len(texts))
        self.languages: npt.NDArray[np.str_] = np.full(len(texts), UNDETERMINED)
        self._dropped: list[tuple[Positions, Sequence[str], Sequence[str]]] = []

    def drop(self, leaving: Mask, reasons: Sequence[str], details: Sequence[str]) -> None:
        """Takes documents out; reasons and details are those of the leaving ones, in order."""
        if not leaving.any():
            return
        self._dropped.append((self.positions[leaving], reasons, details))
        self.texts = self.texts.filter(pa.array(~leaving))
        self.positions = self.positions[~leaving]
        self.languages = self.languages[~leaving]

    def dropped(self, documents: pa.Table) -> pa.Table:
        """The documents taken out as they came, in the order they came."""
        if not self._dropped:
            return DROPPED.empty_table()
        positions = np.concatenate([positions for positions, _, _ in self._dropped])
        reasons = [reason for _, reasons, _ in self._dropped for reason in reasons]
        details = [detail for _, _, details in self._dropped for detail in details]
        order = pa.array(np.argsort(positions))
        columns = documents.take(pa.array(positions).take(order)).columns
        return pa.table([*columns, pa.array(reasons).take(order), pa.array(details).take(order)], schema=DROPPED)


def _drop_by_length(batch: _Batch, language: str, params: CleanParams, report: CleanReport) -> None:
    lengths = pc.utf8_length(batch.texts).to_numpy(zero_copy_only=False)
    short = lengths < params.min_characters
    _doubt_length(batch.texts.filter(pa.array(short)), language, params, report)
    leaving = short | (lengths > params.max_characters)
    reasons = [TOO_SHORT if is_short else "too_long" for is_short in short[leaving]]
    batch.drop(leaving, reasons, [f"{length} characters" for length in lengths[leaving]])


def _find_languages(batch: _Batch, language: str, params: CleanParams, report: CleanReport) -> None:
    """Notes every document's language, and drops those in none of the wanted ones."""
    batch.languages = np.full(len(batch.texts), language)
    if language != AUTO and params.languages is None:
        return
    found = identify(batch.texts)
    codes = _sure(found, params)
    report.languages.update(codes.tolist())
    if language == AUTO:
        batch.languages = codes
    if params.languages is not None:
        leaving = ~np.isin(codes, params.languages)
        likeliest = zip(found.codes[leaving], found.scores[leaving], strict=True)
        details = [f"{code} {score:.2f}" for code, score in likeliest]
        batch.drop(leaving, ["language"] * len(details), details)


def _apply_rules(batch: _Batch, language: str, params: CleanParams, report: CleanReport) -> None:
    """Judges the documents of every language by its rules, and drops those that break one."""
    judged = _judge(batch, params)
    leaving = judged.reasons != 0
    reasons = [REASONS[reason] for reason in judged.reasons[leaving].tolist()]
    report.judged.update(batch.languages.tolist())
    _doubt_rules(batch.texts.filter(pa.array(leaving)), batch.languages[leaving], reasons, language, params, report)
    batch.texts = judged.texts
    batch.drop(leaving, reasons, [f"{value:.4g}" for value in judged.values[leaving].tolist()])


def _judge(batch: _Batch, params: CleanParams) -> Judgement:
    """The verdict of the rules on every document, each by those of its language."""
    if len(params.rules) == 1:
        return _judge_alike(batch.texts, params.rules[DEFAULT_PROFILE])
    codes, numbers = np.unique(batch.languages, return_inverse=True)
    profiles = [params.profile(code) for code in codes.tolist()]
    reasons, values = np.zeros(len(batch.texts), np.uint8), np.zeros(len(batch.texts))
    parts, places = [batch.texts.slice(0, 0)], [np.zeros(0, np.int64)]
    for profile in sorted(set(profiles)):
        members = np.isin(numbers, [number for number, name in enumerate(profiles) if name == profile])
        judged = _judge_alike(batch.texts.filter(pa.array(members)), params.rules[profile])
        reasons[members], values[members] = judged.reasons, judged.values
        parts.append(judged.texts)
        places.append(np.flatnonzero(members))
    order = np.argsort(np.concatenate(places))
    return Judgement(pa.concat_arrays(parts).take(pa.array(order)), reasons, values)


def _judge_alike(texts: pa.Array, rules: QualityParams) -> Judgement:
    if any(getattr(rules, family).enabled for family in FAMILIES):
        return judge(texts, rules)
    return Judgement(texts, np.zeros(len(texts), np.uint8), np.zeros(len(texts)))


def _doubt_length(short: pa.Array, language: str, params: CleanParams, report: CleanReport) -> None:
    """Counts the texts that are too short in characters, but in a script in which few of them say much."""
    doubtful = short.filter(pa.array(dense(short)))
    codes = np.full(len(doubtful), language)
    if len(doubtful) and (language == AUTO or params.languages is not None):
        found = _sure(identify(doubtful), params)
        wanted = np.isin(found, found if params.languages is None else params.languages)
        codes, doubtful = (found if language == AUTO else codes)[wanted], doubtful.filter(pa.array(wanted))
    report.broken.update((code, TOO_SHORT) for code in codes.tolist())
    if language != AUTO:
        _doubt_language(doubtful, params, report)


def _doubt_rules(
    dropped: pa.Array,
    languages: npt.NDArray[np.str_],
    reasons: Sequence[str],
    declared: str,
    params: CleanParams,
    report: CleanReport,
) -> None:
    """Counts the documents dropped by rules that may not fit them, by language and rule."""
    profiles = [params.rules[params.profile(code)] for code in languages.tolist()]
    doubtful = in_doubt(dropped, reasons, profiles)
    report.broken.update(zip(languages[doubtful].tolist(), compress(reasons, doubtful.tolist()), strict=True))
    if declared != AUTO:
        _doubt_language(dropped.filter(pa.array(doubtful)), params, report)


def _doubt_language(doubtful: pa.Array, params: CleanParams, report: CleanReport) -> None:
    """Finds out what some documents are in that rules made for a language dropped; their source says what it holds."""
    if len(doubtful) >= _FEWEST_SUSPECTS:
        report.suspects.update(_sure(identify(doubtful.slice(0, _MOST_SUSPECTS)), params).tolist())


def _sure(found: Languages, params: CleanParams) -> npt.NDArray[np.str_]:
    """Codes of the languages, of those that are not likely enough `UNDETERMINED`."""
    return np.where(found.scores >= params.min_language_score, found.codes, UNDETERMINED)


def _kept(documents: pa.Table, original: pa.Array, positions: Positions, texts: pa.Array) -> pa.Table:
    """The documents at `positions` with their new texts, and the ids of those."""
    places = pa.array(positions)
    columns = documents.select(["doc_id", "source"]).take(places)
    unchanged = pc.equal(original.take(places), texts).to_numpy(zero_copy_only=False)
    new_ids = {place: document_id(texts[place].as_py()) for place in np.flatnonzero(~unchanged).tolist()}
    return pa.table([replaced(one_array(columns["doc_id"]), new_ids), texts, columns["source"]], schema=DOCUMENTS)
