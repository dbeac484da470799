import filecmp
import re
from pathlib import Path

import pytest
from benchmarks import corpus as corpus_module
from benchmarks.corpus import Corpus, generate, open_corpus
from benchmarks.harness import Options

from forgeline.core.errors import DataError

MEGABYTES = 3


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus") / "made"
    generate(folder, MEGABYTES, seed=1)
    return Corpus(folder)


def words(text: str) -> list[str]:
    return re.findall(r"\S+", text)


def test_it_has_the_size_asked_for_and_a_label_for_every_document(corpus: Corpus) -> None:
    assert MEGABYTES * 1e6 <= corpus.text_bytes < MEGABYTES * 1e6 + 100_000
    assert [name for name, _ in corpus.documents()] == list(corpus.labels)


def test_every_kind_is_there_in_about_its_share(corpus: Corpus) -> None:
    kinds = [label.kind for label in corpus.labels.values()]
    assert set(kinds) == {"fresh", *corpus_module.SHARES}
    for kind, share in corpus_module.SHARES.items():
        expected = share * len(kinds)
        assert abs(kinds.count(kind) - expected) < 4 * expected**0.5 + 2


def test_what_a_label_says_is_so(corpus: Corpus) -> None:
    texts = dict(corpus.documents())
    for name, label in corpus.labels.items():
        text = texts[name]
        if label.kind in ("fresh", "junk"):
            assert label.of == ""
            continue
        assert corpus.labels[label.of].kind == "fresh"
        assert label.of < name
        original = texts[label.of]
        if label.kind == "exact":
            assert text == original
        elif label.kind == "near":
            pairs = list(zip(words(text), words(original), strict=True))
            num_changed = sum(ours != theirs for ours, theirs in pairs)
            assert 1 <= num_changed <= max(1, 0.012 * len(pairs))
        else:
            first, _, rest = text.partition("\n\n")
            assert set(words(first)) <= set(words(original))
            assert len(rest) > 400


def test_new_documents_are_no_copies_of_each_other(corpus: Corpus) -> None:
    def shingles(text: str) -> set[tuple[str, ...]]:
        every = words(text)
        return {tuple(every[start : start + 5]) for start in range(len(every) - 4)}

    fresh = [text for name, text in corpus.documents() if corpus.labels[name].kind == "fresh"][:150]
    sets = [shingles(text) for text in fresh]
    for number, ours in enumerate(sets):
        for theirs in sets[:number]:
            assert len(ours & theirs) < 0.3 * len(ours | theirs)


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(corpus: Corpus, tmp_path: Path) -> None:
    generate(tmp_path / "again", MEGABYTES, seed=1)
    generate(tmp_path / "other", MEGABYTES, seed=2)
    files = [path.name for path in corpus.folder.iterdir()]
    assert filecmp.cmpfiles(corpus.folder, tmp_path / "again", files, shallow=False) == (files, [], [])
    assert filecmp.cmpfiles(corpus.folder, tmp_path / "other", files, shallow=False)[0] == []


def test_a_generated_corpus_is_kept_and_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(corpus_module, "CACHE", tmp_path / "cache")
    first = open_corpus(Options(size_megabytes=0.1), default_megabytes=50)
    assert "documents, 0.1 MB" in capsys.readouterr().out
    second = open_corpus(Options(size_megabytes=0.1), default_megabytes=50)
    assert second.folder == first.folder
    assert capsys.readouterr().out == ""
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [first.folder.name]


def test_a_corpus_made_elsewhere_is_read(tmp_path: Path) -> None:
    (tmp_path / "docs-000.jsonl").write_text('{"id": "a", "text": "One."}\n{"id": "b", "text": "Één."}\n')
    (tmp_path / "labels.json").write_text('{"a": {"kind": "fresh"}, "b": {"kind": "near", "of": "a"}}')
    corpus = open_corpus(Options(corpus=tmp_path), default_megabytes=50)
    assert list(corpus.documents()) == [("a", "One."), ("b", "Één.")]
    assert corpus.text_bytes == 4 + 6
    assert corpus.labels["b"] == corpus_module.Label("near", "a")


def test_a_folder_without_a_corpus_is_refused(tmp_path: Path) -> None:
    (tmp_path / "docs-000.jsonl").write_text("")
    with pytest.raises(DataError, match=r"holds no docs-\*\.jsonl and labels\.json"):
        open_corpus(Options(corpus=tmp_path), default_megabytes=50)
