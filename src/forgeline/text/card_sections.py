"""The sections of the data card, each as lines of Markdown."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgeline.sources.fetch_params import FetchParams, HttpParams, HubParams, display_url
from forgeline.sources.params import SourceParams, SourcesParams
from forgeline.text.split import SPLITS

MAX_FILES = 200  # of a split that are listed; the manifest has all
UNDETERMINED = "und"  # ISO 639-2
_RARE_SHARE = 0.01  # of a source's documents: a language found in fewer may be a mistake
Lines = Iterator[str]


@dataclass(frozen=True)
class Corpus:
    """What the card speaks of.

    Attributes:
        ingest: The sources.
        fetch: Remote data by name.
        clean: Section `clean` of params.yaml.
        ingested: Metrics of `ingest` by source.
        cleaned: Metrics of `clean` by source.
        curated: Metrics of `curate`.
        manifest: What `curate` wrote: its parameters, and the hash of each shard.
    """

    ingest: SourcesParams
    fetch: Mapping[str, FetchParams]
    clean: Mapping[str, Any]
    ingested: Mapping[str, Mapping[str, Any]]
    cleaned: Mapping[str, Mapping[str, Any]]
    curated: Mapping[str, Any]
    manifest: Mapping[str, Any]


def contents(corpus: Corpus) -> Lines:
    """How much there is in each split, and of what."""
    yield "## Contents\n"
    yield "A row is a document, with the columns `doc_id` (the beginning of its SHA-256), `text` and `source`.\n"
    rows = [[split, *_figures(corpus.curated[split])] for split in SPLITS]
    yield from table(["split", "documents", "characters", "bytes"], rows, "lrrr")
    yield "Split by a hash of the `doc_id`. The test split is for scoring models: do not train on it.\n"
    yield "Documents of each source in each split:\n"
    by_source = corpus.curated["sources"]
    rows = [
        [name, *(f"{by_source[split].get(name, {}).get('num_documents', 0):,}" for split in SPLITS)]
        for name in corpus.ingest.sources
    ]
    yield from table(["source", *SPLITS], rows, "lrrr")


def sources(corpus: Corpus) -> Lines:
    """Where the documents came from, pinned, with licence, citation and weight."""
    yield "## Sources\n"
    for name, source in corpus.ingest.sources.items():
        facts = [("from", _origin(source, corpus.fetch)), ("content", _pin(corpus.ingested.get(name, {})))]
        facts += [("licence", source.license or "not stated"), ("cite as", source.citation or "")]
        facts += [("language", _language(name, source, corpus))]
        facts += [("weight in training", f"{source.weight:g}" if source.weight is not None else "")]
        facts += [("taken", _caps(source))]
        yield f"### {name}\n"
        yield from (f"- {label}: {' '.join(value.split())}" for label, value in facts if value)
        yield ""


def funnel(corpus: Corpus) -> Lines:
    """How many documents each step kept and dropped, and why, over all sources and for each."""
    yield "## From the sources to the corpus\n"
    steps = [("ingest", corpus.ingested), ("clean", corpus.cleaned), ("curate", {"": corpus.curated})]
    rows = []
    for step, metrics in steps:
        records = [entry["records"] for entry in metrics.values()]
        rows.append([step, *(f"{sum(record[side] for record in records):,}" for side in ("in", "out"))])
    yield from table(["step", "documents in", "documents out"], rows, "lrr")
    yield "Why documents left:\n"
    dropped = [
        [step, words(reason), *(f"{count:,}" if count else "" for count in counts), f"{sum(counts):,}"]
        for step, metrics in (
            ("ingest", _dropped(corpus.ingested)),
            ("clean", _dropped(corpus.cleaned)),
            ("curate", corpus.curated["dropped_by_source"]),
        )
        for reason in sorted({reason for reasons in metrics.values() for reason in reasons})
        if any(counts := [metrics.get(name, {}).get(reason, 0) for name in corpus.ingest.sources])
    ]
    names = list(corpus.ingest.sources)
    yield from table(["step", "reason", *names, "all"], dropped, "ll" + "r" * (len(names) + 1))


def cleaning(corpus: Corpus) -> Lines:
    """The rules in force with their thresholds."""
    yield "## Rules for documents\n"
    yield "Parameters of the step `clean`. Rules that are switched off are left out.\n"
    yield from table(["parameter", "value"], [[f"`{name}`", value] for name, value in leaves(corpus.clean)], "ll")


def copies(corpus: Corpus) -> Lines:
    """How copies were found, and how many there were."""
    yield "## Copies\n"
    params, found = corpus.manifest["params"], corpus.curated["copies"]
    minhash = params["minhash"]
    if params["exact"]:
        yield "- Exact copies: documents with the same text but for case and white space."
    if minhash["enabled"]:
        yield (
            f"- Near copies: MinHash of {minhash['num_permutations']} permutations over runs of "
            f"{minhash['shingle_size']} {minhash['shingle_unit']}, estimated Jaccard similarity of at least "
            f"{minhash['threshold']:g}."
        )
    yield "- The first document of a cluster stays, in the order of the sources above."
    if not found["num_copies"]:
        yield "- No copies were found.\n"
        return
    yield (
        f"- {found['num_copies']:,} copies in {found['num_clusters']:,} clusters were found, of which the largest has "
        f"{found['largest']:,} documents. `clusters.parquet` lists them.\n"
    )


def test_questions(corpus: Corpus) -> Lines:
    """What the corpus was held against, so that scores of models trained on it mean something."""
    num_words = corpus.manifest["params"]["decontaminate_words"]
    yield "## Evaluation sets kept out\n"
    yield (
        f"Documents that share a run of {num_words} words with a question, a choice or an answer of these evaluation "
        "sets were dropped. Texts with less than half as many words are too short to be looked for.\n"
    )
    too_short = corpus.curated["too_short"]
    rows = [
        [name, task, f"{count:,}", f"{too_short[name][task]:,}"]
        for name, tasks in corpus.curated["contaminated"].items()
        for task, count in sorted(tasks.items())
    ]
    yield from table(["set", "task", "documents dropped", "texts too short"], rows, "llrr")
    if corpus.curated["unchecked"]:
        yield (
            "Not looked for, since lm-eval brings their questions, which documents may hold: "
            f"{', '.join(corpus.curated['unchecked'])}.\n"
        )


def personal_data(corpus: Corpus) -> Lines:
    """What was masked."""
    yield "## Personal data\n"
    counts: dict[str, int] = {}
    for metrics in corpus.cleaned.values():
        for kind, count in metrics["pii"].items():
            counts[kind] = counts.get(kind, 0) + count
    if not counts:
        yield "Nothing was masked: e-mail addresses and the like stand in the text as they stood in the sources.\n"
        return
    yield "Places that were masked in the documents that stayed after cleaning:\n"
    yield from table(["kind", "places"], [[words(kind), f"{count:,}"] for kind, count in sorted(counts.items())], "lr")
    yield "They were found by their form, so some will have been missed; names and addresses were not looked for.\n"


def files(corpus: Corpus) -> Lines:
    """The shards of each split with their hashes."""
    yield "## Files\n"
    for split in SPLITS:
        shards = corpus.manifest["shards"][split]
        rows = [
            [f"`{shard['file']}`", f"{shard['num_documents']:,}", f"{shard['file_bytes']:,}", f"`{shard['sha256']}`"]
            for shard in shards[:MAX_FILES]
        ]
        yield f"### {split}\n"
        yield from table(["file", "documents", "bytes", "SHA-256"], rows, "lrrl")
        if len(shards) > MAX_FILES:
            yield f"{len(shards) - MAX_FILES:,} more files are listed in `manifest.json`.\n"


def limits(corpus: Corpus) -> Lines:
    """What a user of the corpus should know that the numbers above do not say by themselves."""
    yield "## Limits\n"
    unlicensed = [name for name, source in corpus.ingest.sources.items() if source.license is None]
    if unlicensed:
        yield f"- The licence of {', '.join(unlicensed)} is not stated: ask before you publish what is made of it."
    capped = [name for name, metrics in corpus.ingested.items() if metrics.get("budget", {}).get("reached")]
    if capped:
        yield f"- Of {', '.join(capped)} only the first documents were taken, which need not be like the rest."
    replaced = sum(sum(metrics.get("encoding", {}).values()) for metrics in corpus.ingested.values())
    if replaced:
        yield f"- {replaced:,} places that were no valid UTF-8 were replaced or removed."
    for metrics in corpus.cleaned.values():
        yield from (f"- Warning while cleaning: {line}." for line in metrics["warnings"])
    yield (
        "- Documents were judged by rules, not read by people: some that are wrong, harmful or of little use will have "
        "stayed, and some good ones left."
    )
    yield (
        "- Near copies below the threshold, passages that different documents share, and short evaluation texts were "
        "not looked for."
    )
    yield "- What the sources lack or get wrong, the corpus lacks and gets wrong too.\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], alignment: str) -> Lines:
    """A Markdown table and a blank line; `alignment` has an `l` or `r` for each column."""
    yield _row(heads)
    yield _row(["---:" if side == "r" else "---" for side in alignment])
    yield from map(_row, rows)
    yield ""


def leaves(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and values of what is switched on: a part with `enabled: false` and values of null are left out."""
    if params.get("enabled") is False:
        return
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        elif value is not None and name != "enabled":
            yield f"{prefix}{name}", _value(value)


def words(name: str) -> str:
    """A name of params or metrics as words."""
    return name.replace("_", " ")


def fetch_name(path: str) -> str | None:
    """The entry of `fetch` whose data are read from `path`, or None for other data."""
    parts = Path(path).parts
    return parts[2] if parts[:2] == ("data", "fetch") and len(parts) > 2 else None


def language_codes(corpus: Corpus) -> list[str]:
    """ISO 639 codes of what the corpus holds, the commonest first; where languages were found, without rare ones."""
    wanted = corpus.clean.get("languages")
    counts: dict[str, float] = {}
    for name, source in corpus.ingest.sources.items():
        metrics = corpus.cleaned[name]
        found = {source.language: metrics["records"]["out"]}
        if source.language == "auto":
            found = {code: count for code, count in metrics["languages"].items() if wanted is None or code in wanted}
        least = _RARE_SHARE * sum(found.values())
        for code, count in found.items():
            if count > least and code != UNDETERMINED:
                counts[code] = counts.get(code, 0) + count
    return sorted(counts, key=lambda code: (-counts[code], code))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;').replace(chr(10), ' ') for cell in cells)} |"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"`{item}`" if isinstance(item, str) else str(item) for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"`{value}`" if isinstance(value, str) else f"{value:g}"


def _figures(figures: Mapping[str, int]) -> list[str]:
    return [f"{figures.get(name, 0):,}" for name in ("num_documents", "num_characters", "num_bytes")]


def _dropped(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, int]]:
    return {name: entry["records"]["dropped"] for name, entry in metrics.items()}


def _origin(source: SourceParams, fetch: Mapping[str, FetchParams]) -> str:
    """The remote data with its pin, or the local file; of an absolute path the last part alone."""
    match fetch.get(fetch_name(source.path) or ""):
        case HttpParams() as fetched:
            return f"{display_url(fetched.url)}, SHA-256 `{fetched.sha256}`"
        case HubParams(is_folder=False) as fetched:
            part = ", ".join(name for name in (fetched.subset, fetched.split) if name)
            return f"https://huggingface.co/datasets/{fetched.dataset} ({part}), revision `{fetched.revision}`"
        case HubParams() as fetched:
            return f"a dataset folder `{Path(fetched.dataset).name}`, SHA-256 `{fetched.revision}`"
    path = Path(source.path)
    shown = path.name if path.is_absolute() else path.as_posix()
    return f"`{shown}`" + (f", files `{source.pattern}`" if source.pattern else "")


def _pin(metrics: Mapping[str, Any]) -> str:
    """The hash of a local source's bytes."""
    digest = metrics.get("sha256")
    return f"SHA-256 `{digest}`" if digest else ""


def _language(name: str, source: SourceParams, corpus: Corpus) -> str:
    if source.language != "auto":
        return f"{source.language} (as declared)"
    found = corpus.cleaned[name]["languages"]
    shown = sorted(((code, count) for code, count in found.items() if count), key=lambda item: (-item[1], item[0]))[:5]
    return "found for each document: " + (", ".join(f"{code} {count:,}" for code, count in shown) or "none")


def _caps(source: SourceParams) -> str:
    caps = [f"{source.max_documents:,} documents"] if source.max_documents is not None else []
    caps += [f"{source.max_tokens:,} tokens (estimated)"] if source.max_tokens is not None else []
    return f"the first {' and '.join(caps)} at most" if caps else ""
