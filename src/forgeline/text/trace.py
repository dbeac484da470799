"""What happened to a document on its way from its source into the corpus, or where it left.

The outputs of the stages are searched shard by shard, so memory stays constant. A cleaned document has another id than
the one it was made from, since its text may have changed. The two are linked by their place: `clean` writes one shard
for every shard it reads and keeps the order, so the kept documents of a shard are its documents less the dropped ones.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from forgeline.core.errors import DataError
from forgeline.core.records import document_id
from forgeline.core.shards import shard_paths
from forgeline.text.evaluation_texts import EvaluationSet, pair_texts, question_texts
from forgeline.text.split import SPLITS
from forgeline.text.trace_files import (
    Folders,
    find_row,
    kept_rows,
    matches,
    origin_of,
    preview,
    read_columns,
    shards_if_any,
    unread_behind,
)
from forgeline.text.trace_rules import Cleaning, Verdict

MAX_SHOWN = 5  # documents, candidates, relatives
MIN_PREFIX = 8
_WORD = re.compile(r"\w+")
_ID = re.compile(rf"[0-9a-f]{{{MIN_PREFIX},32}}")


@dataclass(frozen=True)
class Relative:
    """A record that shares text with a document: a copy of it, or what asks for what it says.

    Attributes:
        record_id: Of a document, a question or a pair.
        kind: `survivor` (the copy that stays), `exact` or `near` (copies that left), `question`,
            `pair` or `task_question` (of a task file).
        text: Its beginning; of a question or a pair, the words that it shares with the document.
        place: Of a document: its split, or `dropped`.
        similarity: Of the near copy to the survivor, estimated; None where it was not measured.
    """

    record_id: str
    kind: str
    text: str
    place: str = ""
    similarity: float | None = None


@dataclass(frozen=True)
class Step:
    """What one stage did with a document.

    Attributes:
        stage: `ingest`, `clean`, `curate` or `holdout`.
        outcome: `kept`, `dropped`, or for `curate` the split; `unknown` where the stage has not run.
        doc_id: Of the document as the stage left it.
        reason: Why it was dropped, else empty.
        detail: What decided that: a measured number, or the id of another record.
        relatives: The records that decided it, or copies that left because this document stays; at most MAX_SHOWN.
        threshold: Of `clean`: the parameter that decides, as params.yaml has it now.
        now: Of `clean`: what would happen with the params.yaml of now; empty where that is the same.
    """

    stage: str
    outcome: str
    doc_id: str
    reason: str = ""
    detail: str = ""
    relatives: Sequence[Relative] = field(default_factory=tuple)
    threshold: str = ""
    now: str = ""


@dataclass(frozen=True)
class Journey:
    """One document from its source on; `text` is the beginning of what was ingested."""

    source: str
    doc_id: str
    text: str
    steps: Sequence[Step]


@dataclass(frozen=True)
class Trace:
    """The journeys of the documents that were found; `num_more` others were found and not followed."""

    journeys: Sequence[Journey]
    num_more: int


@dataclass(frozen=True)
class _Place:
    """A row of a shard of `ingest`: of its documents, or of those it dropped."""

    source: str
    table: str
    shard: int
    row: int
    doc_id: str


def trace(query: str, folders: Folders, cleaning: Cleaning) -> Trace:
    """The fate of the documents that `query` names.

    Args:
        query: An id, the first digits of one, a whole text, or a piece of a text.
        folders: The outputs of the data stages, and their figures.
        cleaning: The rules as they are now, to be compared with what happened.

    Raises:
        DataError: Nothing was ingested yet, nothing is found (sources that were read only up to their budget are
            named), or the digits begin several ids; or what is wrong with a task file, if one is needed.
        ParamsError: The same of its definition.
    """
    sources = sorted(path.name for path in folders.ingest.glob("*") if (path / "documents.parquet").exists())
    if not sources:
        raise DataError(f"{folders.ingest} holds no documents yet: run `dvc repro` first")
    places = _find(query, folders, sources)
    if not places:
        raise _not_found(query, folders, sources)
    journeys = [_follow(place, folders, cleaning) for place in places[:MAX_SHOWN]]
    return Trace(journeys, len(places) - len(journeys))


def _not_found(query: str, folders: Folders, sources: Sequence[str]) -> DataError:
    caps = [f"{source} only up to {knob}" for source in sources if (knob := unread_behind(folders, source))]
    unread = f"; ingest read {', '.join(caps)}: it may stand behind that, where nothing was read" if caps else ""
    return DataError(
        f"no document is or contains '{preview(query, 60)}' in {', '.join(sources)}: give at least {MIN_PREFIX} "
        f"digits of a doc_id, or a passage as it stands in the document{unread}"
    )


def _find(query: str, folders: Folders, sources: Sequence[str]) -> list[_Place]:
    if not _ID.fullmatch(query):
        places = _find_rows(folders, sources, "doc_id", document_id(query))
        return list(places or _find_rows(folders, sources, "text", query))
    places = _find_rows(folders, sources, "doc_id", query)
    ids = sorted(set(places.values()))
    if len(ids) > 1:
        shown = ", ".join(ids[:MAX_SHOWN]) + (", ..." if len(ids) > MAX_SHOWN else "")
        raise DataError(f"{len(ids)} documents have an id that begins with {query}: {shown}; give more digits")
    return list(places)


def _find_rows(folders: Folders, sources: Sequence[str], column: str, wanted: str) -> dict[_Place, str]:
    """The rows of `ingest` that match, or whose cleaned form does, each with the id of what matched."""
    found: dict[_Place, str] = {}
    for source in sources:
        for table in ("documents", "dropped"):
            for shard, row, doc_id in matches(folders.ingest / source / f"{table}.parquet", column, wanted):
                found.setdefault(_Place(source, table, shard, row, doc_id), doc_id)
        for shard, row, doc_id in matches(folders.clean / source / "documents.parquet", column, wanted):
            origin, ingested_id = origin_of(folders, source, shard, row)
            found.setdefault(_Place(source, "documents", shard, origin, ingested_id), doc_id)
    return found


def _follow(place: _Place, folders: Folders, cleaning: Cleaning) -> Journey:
    file = shard_paths(folders.ingest / place.source / f"{place.table}.parquet")[place.shard]
    row = pq.read_table(file).slice(place.row, 1).to_pylist()[0]
    if place.table == "dropped":
        steps = [Step("ingest", "dropped", place.doc_id, row["reason"], row["detail"])]
    else:
        steps = [Step("ingest", "kept", place.doc_id), *_after_ingest(place, row["text"], folders, cleaning)]
    return Journey(place.source, place.doc_id, preview(row["text"]), tuple(steps))


def _after_ingest(place: _Place, text: str, folders: Folders, cleaning: Cleaning) -> Iterator[Step]:
    cleaned = folders.clean / place.source
    if not (cleaned / "documents.parquet").exists():
        yield Step("clean", "unknown", place.doc_id)
        return
    verdict = cleaning.verdict(text, place.source)
    dropped = pq.read_table(shard_paths(cleaned / "dropped.parquet")[place.shard])
    fate = dropped.filter(pc.equal(dropped["doc_id"], place.doc_id)).slice(0, 1).to_pylist()
    if fate:
        yield _judged(Step("clean", "dropped", place.doc_id, fate[0]["reason"], fate[0]["detail"]), verdict)
        return
    row = kept_rows(folders, place.source, place.shard).index(place.row)
    doc_id = read_columns(shard_paths(cleaned / "documents.parquet")[place.shard], ["doc_id"])["doc_id"][row].as_py()
    yield _judged(Step("clean", "kept", doc_id), verdict)
    yield from _after_clean(place.source, doc_id, _is_repeat(cleaned, doc_id, place.shard, row), folders)


def _judged(step: Step, now: Verdict | None) -> Step:
    """The step of `clean` with what the rules of now say about it."""
    if now is None or (step.reason, step.doc_id) == (now.reason, now.doc_id):
        return replace(step, threshold=now.threshold if now else "")
    if now.reason:
        return replace(step, now=f"dropped: {now.reason}, {now.detail}".rstrip(", "), threshold=now.threshold)
    return replace(step, now="kept" if step.outcome == "dropped" else f"kept, as {now.doc_id}")


def _is_repeat(cleaned: Path, doc_id: str, shard: int, row: int) -> bool:
    """Whether an earlier document of the source has the same text, so that this one was a copy of it."""
    first = next(matches(cleaned / "documents.parquet", "doc_id", doc_id))
    return first[:2] != (shard, row)


def _after_clean(source: str, doc_id: str, is_repeat: bool, folders: Folders) -> Iterator[Step]:
    if not (folders.curate / "train.parquet").exists():
        yield Step("curate", "unknown", doc_id)
        return
    if not is_repeat:
        for split in SPLITS:
            if find_row(folders.curate / f"{split}.parquet", doc_id, source):
                yield Step("curate", split, doc_id, relatives=_copies(doc_id, folders))
                if split == "test":
                    yield _held_out(doc_id, folders)
                return
    fate = find_row(folders.curate / "dropped.parquet", doc_id, source)
    if fate is None:
        raise DataError(f"{folders.curate} was not made from the documents in {folders.clean}: run `dvc repro`")
    decided_by = _asking if fate["reason"] == "contaminated" else _survivor
    yield Step("curate", "dropped", doc_id, fate["reason"], fate["detail"], decided_by(fate, folders))


def _held_out(doc_id: str, folders: Folders) -> Step:
    if not folders.holdout.exists():
        return Step("holdout", "unknown", doc_id)
    if find_row(folders.holdout, doc_id) is not None:
        return Step("holdout", "kept", doc_id)
    return Step("holdout", "dropped", doc_id, "quoted_in_training")


def _copies(doc_id: str, folders: Folders) -> tuple[Relative, ...]:
    """Copies that left because this document stays."""
    rows = (row for row in _clusters(folders, "cluster_id", doc_id) if row["kind"] != "survivor")
    return tuple(_relative(row["doc_id"], row["kind"], row["similarity"], folders) for row in islice(rows, MAX_SHOWN))


def _survivor(fate: Mapping[str, Any], folders: Folders) -> tuple[Relative, ...]:
    """The document that stays in the place of a copy, and how alike they are."""
    own = next((row for row in _clusters(folders, "doc_id", fate["doc_id"]) if row["kind"] != "survivor"), None)
    return (_relative(fate["detail"], "survivor", own["similarity"] if own else None, folders),)


def _clusters(folders: Folders, column: str, wanted: str) -> Iterator[dict[str, Any]]:
    """Rows of the table of copies."""
    for shard in shards_if_any(folders.curate / "clusters.parquet"):
        table = pq.read_table(shard)
        yield from table.filter(pc.equal(table[column], wanted)).to_pylist()


def _relative(doc_id: str, kind: str, similarity: float | None, folders: Folders) -> Relative:
    for place in (*SPLITS, "dropped"):
        row = find_row(folders.curate / f"{place}.parquet", doc_id)
        if row is not None:
            return Relative(doc_id, kind, preview(row["text"]), place, similarity)
    return Relative(doc_id, kind, "", "", similarity)


def _asking(fate: Mapping[str, Any], folders: Folders) -> tuple[Relative, ...]:
    """The question or preference pair that a document would give away, with the words that they share."""
    for kind, evaluation in _evaluations(folders):
        texts = [entry.text for entry in evaluation.texts if entry.sample_id == fate["detail"]]
        if texts:
            shared = max((_shared_words(fate["text"], text) for text in texts), key=len)
            return (Relative(fate["detail"], kind, preview(" ".join(shared))),)
    return ()


def _evaluations(folders: Folders) -> Iterator[tuple[str, EvaluationSet]]:
    """What `curate` held documents against, each set read when it is asked for."""
    if folders.questions.exists():
        yield "question", question_texts(folders.questions)
    if folders.pairs.exists():
        yield "pair", pair_texts(folders.pairs)
    if folders.task_texts is not None:
        yield "task_question", folders.task_texts()


def _shared_words(text: str, other: str) -> list[str]:
    """The longest run of words that is in both texts."""
    words, others = _WORD.findall(text.lower()), _WORD.findall(other.lower())
    match = SequenceMatcher(None, words, others, autojunk=False).find_longest_match()
    return words[match.a : match.a + match.size]
