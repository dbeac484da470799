"""A corpus of any size whose duplicates and junk are known, so that cleaning and deduplication can be scored.

Sentences of the packaged ontology and disease annotations are recombined into new documents, whose lengths are
log-normal with a median of about 1,700 characters. Planted among them, each with a label: near duplicates (a few words
replaced), exact duplicates, hard negatives (the first half of another document, then new text: not a duplicate), and
junk (boilerplate, runs of symbols, lists of single words, one phrase repeated). The same seed gives the same bytes.

A corpus is a folder of `docs-000.jsonl`, ... with lines `{"id": ..., "text": ...}`, and `labels.json`, which maps each
id to `{"kind": ...}` or, for what was made from another document, `{"kind": ..., "of": <its id>}`.
"""

import hashlib
import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import orjson

from benchmarks.harness import Options
from forgeline.core.errors import DataError
from forgeline.sources.hpo import load_ontology
from forgeline.sources.hpo_diseases import load_diseases
from forgeline.sources.hpo_documents import disease_document

DESCRIPTOR = Path("src/forgeline/sources/hpo.json")
CACHE = Path(".dvc/tmp/benchmarks")

# Expected share of the documents; the rest is new text. What is made from another document waits for the first ones.
SHARES = {"near": 0.15, "exact": 0.05, "hard_negative": 0.03, "junk": 0.05}
DOCUMENTS_PER_FILE = 10_000
# Of definitions, comments and descriptions of diseases, which are lists with many commas, in the new texts.
POOL_WEIGHTS = (0.65, 0.25, 0.1)
# Documents that later ones are made from: a sample of all so far, so that memory does not grow with the corpus.
NUM_DONORS = 10_000

_SENTENCE_END = re.compile(r"(?<=[.?!])\s+")
_WORD = re.compile(r"\S+")
_PHENOTYPES_PER_DISEASE = 20


@dataclass(frozen=True)
class Label:
    """What a document is: `fresh`, `near`, `exact`, `hard_negative` or `junk`, and the id of what it was made from."""

    kind: str
    of: str = ""


@dataclass(frozen=True)
class Corpus:
    """A corpus in a folder."""

    folder: Path

    @property
    def files(self) -> list[Path]:
        """Its `docs-*.jsonl`, in order."""
        return sorted(self.folder.glob("docs-*.jsonl"))

    @cached_property
    def labels(self) -> dict[str, Label]:
        """The label of every document, by id."""
        return {
            name: Label(**label) for name, label in orjson.loads((self.folder / "labels.json").read_bytes()).items()
        }

    def documents(self) -> Iterator[tuple[str, str]]:
        """Id and text of every document, in order."""
        for path in self.files:
            with path.open("rb") as file:
                for line in file:
                    document = orjson.loads(line)
                    yield document["id"], document["text"]

    @cached_property
    def text_bytes(self) -> int:
        """UTF-8 bytes of all texts."""
        return sum(len(text.encode()) for _, text in self.documents())


def open_corpus(options: Options, default_megabytes: float, seed: int = 0) -> Corpus:
    """The corpus that `--corpus` names, else one of the size asked for, generated if it is not in the cache yet.

    Raises:
        DataError: The folder named holds no corpus.
    """
    if options.corpus is not None:
        if not list(options.corpus.glob("docs-*.jsonl")) or not (options.corpus / "labels.json").is_file():
            raise DataError(f"{options.corpus} holds no docs-*.jsonl and labels.json: name a folder that does")
        return Corpus(options.corpus)
    megabytes = options.size_megabytes or default_megabytes
    code = [Path(__file__), *sorted(DESCRIPTOR.parent.glob("hpo*"))]
    version = hashlib.sha256(b"".join(path.read_bytes() for path in code)).hexdigest()[:8]
    folder = CACHE / f"corpus-{megabytes:g}mb-seed{seed}-{version}"
    if not folder.is_dir():
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        generate(partial, megabytes, seed)
        partial.rename(folder)
    return Corpus(folder)


def generate(folder: Path, megabytes: float, seed: int) -> None:
    """Writes a new corpus of at least so many million bytes of text."""
    folder.mkdir(parents=True)
    writer = _Writer(folder)
    maker = _DocumentMaker(_sentence_pools(), random.Random(seed))
    while writer.num_bytes < megabytes * 1e6:
        name = f"d{writer.num_documents:07d}"
        writer.write(name, *maker.make(name))
    writer.close()
    print(f"{folder}: {writer.num_documents} documents, {writer.num_bytes / 1e6:.1f} MB, {dict(writer.num_of_kind)}")


@cache
def _sentence_pools() -> list[list[str]]:
    """Sentences of 25 to 600 characters: definitions, comments, and descriptions of diseases."""
    ontology = load_ontology(DESCRIPTOR)
    terms = ontology.terms.values()
    diseases = [disease_document(disease, ontology, _PHENOTYPES_PER_DISEASE) for disease in load_diseases(DESCRIPTOR)]
    pools = [[term.definition for term in terms], [term.comment for term in terms], diseases]
    return [
        [sentence for text in texts for sentence in _SENTENCE_END.split(text) if 25 <= len(sentence) <= 600]
        for texts in pools
    ]


class _Writer:
    """Writes documents and, at the end, their labels; counts both."""

    def __init__(self, folder: Path) -> None:
        self.num_documents = 0
        self.num_bytes = 0
        self.num_of_kind: Counter[str] = Counter()
        self._folder = folder
        self._lines: list[bytes] = []
        self._labels: dict[str, dict[str, str]] = {}

    def write(self, name: str, text: str, label: Label) -> None:
        self._lines.append(orjson.dumps({"id": name, "text": text}, option=orjson.OPT_APPEND_NEWLINE))
        self._labels[name] = {"kind": label.kind, **({"of": label.of} if label.of else {})}
        self.num_documents += 1
        self.num_bytes += len(text.encode())
        self.num_of_kind[label.kind] += 1
        if len(self._lines) == DOCUMENTS_PER_FILE:
            self._write_file()

    def close(self) -> None:
        if self._lines:
            self._write_file()
        (self._folder / "labels.json").write_text(json.dumps(self._labels), encoding="utf-8")

    def _write_file(self) -> None:
        number = (self.num_documents - 1) // DOCUMENTS_PER_FILE
        (self._folder / f"docs-{number:03d}.jsonl").write_bytes(b"".join(self._lines))
        self._lines.clear()


class _DocumentMaker:
    """Makes one document after another; the random state and the donors so far decide what it is."""

    def __init__(self, pools: list[list[str]], rng: random.Random) -> None:
        self._pools = pools
        self._rng = rng
        self._vocabulary = sorted({word for pool in pools for text in pool for word in text.split() if word.isalpha()})
        self._donors: list[tuple[str, str]] = []
        self._num_fresh = 0

    def make(self, name: str) -> tuple[str, Label]:
        """The next document, which will be called `name`, and its label."""
        kind = self._rng.choices([*SHARES, "fresh"], [*SHARES.values(), 1 - sum(SHARES.values())])[0]
        if kind == "junk":
            return self._junk(), Label("junk")
        if kind == "fresh" or not self._donors:
            return self._remember(name, self._fresh()), Label("fresh")
        donor, text = self._rng.choice(self._donors)
        if kind == "near":
            text = self._with_words_replaced(text)
        elif kind == "hard_negative":
            text = self._with_new_second_half(text)
        return text, Label(kind, donor)

    def _remember(self, name: str, text: str) -> str:
        """Keeps a uniform sample of the new texts as donors (reservoir sampling, algorithm R; Vitter 1985)."""
        self._num_fresh += 1
        if len(self._donors) < NUM_DONORS:
            self._donors.append((name, text))
        elif (place := self._rng.randrange(self._num_fresh)) < NUM_DONORS:
            self._donors[place] = (name, text)
        return text

    def _fresh(self) -> str:
        """Paragraphs of sentences about one kind of thing."""
        pool = self._rng.choices(self._pools, POOL_WEIGHTS)[0]
        wanted = min(20_000.0, max(450.0, self._rng.lognormvariate(7.45, 0.75)))
        paragraphs: list[str] = []
        length = 0
        while length < wanted:
            paragraphs.append(" ".join(self._rng.choices(pool, k=self._rng.randint(2, 7))))
            length += len(paragraphs[-1])
        return "\n\n".join(paragraphs)

    def _with_words_replaced(self, text: str) -> str:
        """The text with 0.2 to 1.2 % of its words, and at least one, replaced by others."""
        words = list(_WORD.finditer(text))
        count = max(1, int(len(words) * self._rng.uniform(0.002, 0.012)))
        for match in sorted(self._rng.sample(words, count), key=lambda match: -match.start()):
            word = match[0]
            while word == match[0]:
                word = self._rng.choice(self._vocabulary)
            text = text[: match.start()] + word + text[match.end() :]
        return text

    def _with_new_second_half(self, text: str) -> str:
        sentences = _SENTENCE_END.split(text)
        return " ".join(sentences[: len(sentences) // 2]) + "\n\n" + self._fresh()

    def _junk(self) -> str:
        rng = self._rng
        kind = rng.choice(("boilerplate", "symbols", "list", "phrase"))
        if kind == "boilerplate":
            return "\n".join(["Accept cookies to continue. Terms of use. Privacy policy."] * rng.randint(20, 80))
        if kind == "symbols":
            return " ".join(rng.choice("#@{}[]|<>") * rng.randint(1, 9) for _ in range(rng.randint(100, 600)))
        if kind == "list":
            return "\n".join(f"- {word}" for word in rng.choices(self._vocabulary, k=rng.randint(60, 300)))
        return " ".join([" ".join(rng.choices(self._vocabulary, k=12))] * rng.randint(20, 60))
