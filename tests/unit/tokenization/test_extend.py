import itertools
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import shards_of
from tests.unit.tokenization.tokenizer_params import adopt_params, extend_params, smollm2_file

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.records import read_documents
from forgeline.tokenization.encoding import CorpusEncoder
from forgeline.tokenization.extension import read_extension
from forgeline.tokenization.loading import load_tokenizer
from forgeline.tokenization.merging import NewMerges, continue_training, make_whole, merged
from forgeline.tokenization.report import report
from forgeline.tokenization.train import make_tokenizer
from forgeline.tokenization.word_list import read_word_list

KINDS = ["byte_bpe", "sentencepiece_unigram", "sentencepiece_bpe"]
WORDS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9).map(tuple), min_size=1, max_size=12)


@pytest.fixture(scope="module", params=[*KINDS, "llama2", pytest.param("smollm2", marks=pytest.mark.slow)])
def extended(request, origins, llama2_like: Path, medical_shards: list[Path], tmp_path_factory):
    """An extended tokenizer as saved and loaded, its origin, and what the stage said of it."""
    if request.param == "smollm2":
        folder, size = tmp_path_factory.mktemp("origin"), 49_800
        make_tokenizer([], adopt_params(smollm2_file())).save(folder)
    else:
        folder, size = (llama2_like if request.param == "llama2" else origins[request.param]), 1100
    made = make_tokenizer(medical_shards, extend_params(folder, size))
    saved = tmp_path_factory.mktemp("extended")
    made.save(saved)
    return load_tokenizer(saved), folder, made, saved


def test_old_ids_stay_and_the_size_is_what_was_asked(extended, tmp_path: Path) -> None:
    tokenizer, folder, made, _ = extended
    old = load_tokenizer(folder).get_vocab()
    new = tokenizer.get_vocab()
    assert {entry: new[entry] for entry in old} == old
    assert len(tokenizer) == len(new) == max(new.values()) + 1
    assert len(tokenizer) == (49_800 if len(old) > 49_000 else 1100)
    assert len(made.added_tokens) == len(new) - len(old)


def test_text_comes_back_and_takes_fewer_tokens(extended, medical_shards: list[Path]) -> None:
    tokenizer, folder, _, _ = extended
    before = report(load_tokenizer(folder), medical_shards).as_json()
    after = report(tokenizer, medical_shards).as_json()
    assert after["num_round_trip_failures"] == 0
    assert after["bytes_per_token"] > 1.05 * before["bytes_per_token"]


def test_new_pieces_are_used(extended, medical_shards: list[Path]) -> None:
    tokenizer, _, made, _ = extended
    counts = report(tokenizer, medical_shards).counts
    pieces = [token for token in made.added_tokens if token not in made.added_special_tokens]
    used = sum(counts[tokenizer.convert_tokens_to_ids(token)] > 0 for token in pieces)
    assert used > 0.7 * len(pieces)  # the rest are steps on the way to longer ones


def test_each_new_piece_is_made_of_the_old_ones_of_its_text(extended) -> None:
    tokenizer, folder, made, saved = extended
    origin = load_tokenizer(folder)
    extension = read_extension(saved)
    assert extension == made.extension
    assert extension.base_vocab_size == len(origin)
    assert len(extension.pieces) == len(tokenizer) - len(origin)
    for number, pieces in enumerate(extension.pieces, start=len(origin)):
        token = tokenizer.convert_ids_to_tokens(number)
        if token not in made.added_special_tokens:  # after an x: some decoders take a blank off the beginning
            x = origin.encode("x", add_special_tokens=False)
            assert origin.decode([*x, *pieces]) == tokenizer.decode([*x, number])


def test_other_text_is_encoded_validly(extended) -> None:
    tokenizer, _, _, _ = extended
    for text in ("Völlig anderes: 東京 \U0001f9ec 1234\n\n\tend ", "<|im_end|>", "a  b   c"):
        ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        assert tokenizer.decode(ids) == text


def test_characters_that_were_only_bytes_become_entries(origins, tmp_path: Path) -> None:
    shards = shards_of(tmp_path, ["東京の病院 東京の病院", "病院の東京"])
    made = make_tokenizer(shards, extend_params(origins["sentencepiece_bpe"], 507))
    assert made.added_tokens[:5] == ["の", "京", "東", "病", "院"]
    assert made.tokenizer.tokenize("東京の病院") == ["東京", "の", "病院"]
    assert made.tokenizer.decode(made.tokenizer.encode("東京の病院")) == "東京の病院"
    assert all(len(pieces) % 3 == 0 for pieces in made.extension.pieces)  # three bytes each


@pytest.mark.parametrize("kind", KINDS)
def test_listed_words_become_pieces_most_frequent_first(kind: str, origins, medical_shards, tmp_path: Path) -> None:
    listed = tmp_path / "words.txt"
    listed.write_text("hypertelorism 50\nmicrocephaly\t90 n\n\nsyndactyly 3\nrare 1\nnot-one-word 70\n")
    made = make_tokenizer(medical_shards, extend_params(origins[kind], 900, words=str(listed)))
    for word in ("hypertelorism", "microcephaly", "syndactyly"):
        assert len(made.tokenizer.tokenize(f"a {word} b")) == len(made.tokenizer.tokenize("a b")) + 1
    order = [made.tokenizer.convert_tokens_to_ids(made.tokenizer.tokenize(f" {word}"))[-1] for word in
             ("microcephaly", "hypertelorism", "syndactyly")]  # fmt: skip
    assert order == sorted(order)


@given(words=WORDS, num_new=st.integers(1, 12), listed=st.lists(st.integers(0, 11), max_size=3))
def test_merging_goes_as_the_plain_rule_says(words, num_new: int, listed: list[int]) -> None:
    counts = Counter(words)
    names = {0: "a", 1: "b", 2: "c", 3: "ab"}  # 3 spells what 0 and 1 do: that way stays closed
    merges = NewMerges(dict(names), 4)
    for index in listed:
        make_whole(words[index % len(words)], merges, num_new - len(merges.parts))
    wanted = num_new - len(merges.parts)
    plain = NewMerges(dict(names), 4)
    for pair in merges.ranks:
        plain.add(pair)
    continue_training(counts, merges, wanted, 2)
    _train_plainly(counts, plain, num_new)
    assert list(merges.ranks) == list(plain.ranks)
    assert merges.names == plain.names
    for word in words:
        text = "".join(names[number] for number in word)
        assert "".join(merges.names[number] for number in merges.apply(word)) == text
        # Two ways to one spelling share an entry, which starts from the pieces of the way that came first.
        assert "".join(names[old] for number in merges.apply(word) for old in merges.old_ids(number)) == text


def _train_plainly(counts: Counter[tuple[int, ...]], merges: NewMerges, num_entries: int) -> None:
    """Recounts everything before each merge."""
    while len(merges.parts) < num_entries:
        pairs = Counter[tuple[int, int]]()
        for word, count in counts.items():
            for pair in itertools.pairwise(merges.apply(word)):
                pairs[pair] += count
        allowed = [(-count, pair) for pair, count in pairs.items() if count >= 2 and merges.can_merge(pair)]
        if not allowed:
            return
        merges.add(min(allowed)[1])


@given(word=st.lists(st.integers(0, 2), min_size=2, max_size=8), num_free=st.integers(0, 8))
def test_a_word_is_made_whole_or_nothing_changes(word: list[int], num_free: int) -> None:
    merges = NewMerges({0: "a", 1: "b", 2: "c"}, 3)
    if make_whole(word, merges, num_free):
        assert len(merges.apply(word)) == 1
        assert len(merges.parts) <= num_free
    else:
        assert (merges.ranks, merges.results, merges.parts, merges.names) == ({}, {}, [], {0: "a", 1: "b", 2: "c"})


def test_merging_takes_pairs_from_the_left() -> None:
    assert merged([1, 1, 1, 2, 1, 1], (1, 1), 9) == [9, 1, 2, 9]


def test_a_size_without_room_is_refused(origins, medical_shards: list[Path]) -> None:
    with pytest.raises(ParamsError, match=r"vocab_size 600 leaves no room: .* has 600 entries and 0 are added"):
        make_tokenizer(medical_shards, extend_params(origins["byte_bpe"], 600))


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_the_text_supports_is_refused_with_a_number_that_works(kind: str, origins, tmp_path: Path) -> None:
    shards = shards_of(tmp_path, ["abnormal hearing", "abnormal sight", "abnormal growth and hearing"])
    with pytest.raises(ParamsError, match="is more than the text supports") as caught:
        make_tokenizer(shards, extend_params(origins[kind], 5000))
    most = int(str(caught.value).partition("set vocab_size to ")[2].split()[0])
    assert len(make_tokenizer(shards, extend_params(origins[kind], most)).tokenizer) == most


def test_a_model_with_marked_word_parts_cannot_be_extended(origins, medical_shards, tmp_path: Path) -> None:
    content = json.loads((origins["byte_bpe"] / "tokenizer.json").read_text())
    content["model"]["end_of_word_suffix"] = "</w>"
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    with pytest.raises(DataError, match="cannot be extended: choose a BPE or unigram tokenizer"):
        make_tokenizer(medical_shards, extend_params(tmp_path, 2000))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "lists no word with a frequency of at least tokenizer.min_frequency 2"),
        ("rare 1\n", "lists no word with a frequency"),
        ("good 5\nbad\n", r"words\.txt:2: expected a word and its frequency, .*got 'bad'"),
        ("good five\n", r"words\.txt:1: expected a word and its frequency"),
        ("good -5\n", r"words\.txt:1: expected a word and its frequency"),
        (b"\xff\xfe 3", r"words\.txt is not UTF-8 \(byte 0\)"),
    ],
)
def test_malformed_word_lists_are_named(tmp_path: Path, content: str | bytes, problem: str) -> None:
    file = tmp_path / "words.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=problem):
        read_word_list(file, 2)


def test_a_missing_word_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ParamsError, match=r"tokenizer\.words .*none\.txt does not exist: correct it, or set it to null"
    ):
        read_word_list(tmp_path / "none.txt", 2)


def test_word_lists_are_ordered_by_frequency_then_by_the_word(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("\ufeffb 3\na 3\nc 9 noun\nd 1\nb 2\n", encoding="utf-8")
    assert read_word_list(tmp_path / "words.txt", 2) == ["c", "a", "b"]


@pytest.mark.parametrize(
    "change", [{"pieces": [[]]}, {"pieces": [[500]]}, {"pieces": 3}, {"base_vocab_size": None}, {"pieces": [["a"]]}]
)
def test_a_damaged_extension_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    content = {"origin": "f", "base_vocab_size": 500, "pieces": [[3, 499]]}
    (tmp_path / "extension.json").write_text(json.dumps(content))
    assert read_extension(tmp_path).pieces == [[3, 499]]
    (tmp_path / "extension.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(DataError, match="does not describe an extension"):
        read_extension(tmp_path)
    assert read_extension(tmp_path / "nowhere") is None


def test_an_extended_tokenizer_encodes_corpora(extended, medical_shards: list[Path]) -> None:
    tokenizer, _, _, _ = extended
    encoder = CorpusEncoder(tokenizer)
    texts = read_documents(medical_shards[0])["text"][:50]
    assert encoder.round_trip(texts, encoder.encode(texts)).num_failures == 0
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts.to_pylist()]
    assert encoder.encode(texts).ids.tolist() == [number for row in ids for number in row]
