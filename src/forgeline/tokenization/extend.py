"""A domain vocabulary added to a tokenizer that was made elsewhere: old ids stay, new ones follow in a stable order.

BPE, of bytes or of characters, goes on merging on the corpus (`merging`). To a unigram model pieces are added that
SentencePiece learns from the corpus, with their log-probabilities there. Words of a list come first in both.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from forgeline.core.errors import DataError, ParamsError
from forgeline.tokenization.adopt import Adoption, begin_adoption
from forgeline.tokenization.domain_words import BLANK, WordDivider
from forgeline.tokenization.extension import Extension
from forgeline.tokenization.merging import NewMerges, continue_training, make_whole
from forgeline.tokenization.params import ExtendParams
from forgeline.tokenization.sentence_pieces import NEVER, run_trainer
from forgeline.tokenization.word_list import read_word_list

_CANDIDATES_FOR_ONE = 3  # unigram pieces trained for each that is wanted: the old vocabulary has many of them already
_WORD_GAIN = 0.1  # log-probability, times the square of their number, by which a listed word beats its pieces


def extend_tokenizer(shards: Sequence[Path], params: ExtendParams) -> tuple[PreTrainedTokenizerFast, Extension]:
    """The origin's tokenizer with `params.vocab_size` entries, and what the new ones are made of.

    Args:
        shards: Parquet files of documents.
        params: Section `tokenizer`.

    Raises:
        ParamsError: `vocab_size` is not more than the origin has, or more than the text supports.
        DataError: The origin has no tokenizer, or one that cannot be extended; the word list is malformed.
    """
    words = [] if params.words is None else read_word_list(Path(params.words), params.min_frequency)
    adoption = begin_adoption(params)
    first_id = adoption.base_vocab_size + len(adoption.added)
    num_new = params.vocab_size - first_id
    if num_new <= 0:
        raise ParamsError(
            f"params.yaml: tokenizer.vocab_size {params.vocab_size} leaves no room: {params.origin} has "
            f"{adoption.base_vocab_size} entries and {len(adoption.added)} are added for the pipeline; raise it"
        )
    description = json.loads(adoption.core.to_str())
    model = description["model"]
    if not _can_grow(model):
        raise DataError(
            f"tokenizer.origin: {params.origin} is of type {model['type']} with marked word parts, which cannot be "
            "extended: choose a BPE or unigram tokenizer, or tokenizer.kind adopt"
        )
    _keep_special_ids(description)
    divider = WordDivider(adoption.core)
    counts, listed = divider.count(shards), divider.listed(words)
    extend = _extend_bpe if model["type"] == "BPE" else _extend_unigram
    pieces = extend(description, adoption, counts, listed, num_new, params.min_frequency)
    if len(pieces) < num_new:
        raise ParamsError(
            f"params.yaml: tokenizer.vocab_size {params.vocab_size} is more than the text supports: only {len(pieces)} "
            f"new entries occur at least tokenizer.min_frequency {params.min_frequency} times; set vocab_size to "
            f"{first_id + len(pieces)} or less, or add text"
        )
    added = [adoption.old_ids(token) for token in adoption.added]
    tokenizer = adoption.finished(Tokenizer.from_str(json.dumps(description)))
    return tokenizer, Extension(adoption.fingerprint, adoption.base_vocab_size, added + pieces)


def _can_grow(model: dict[str, Any]) -> bool:
    marks = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
    return model["type"] == "Unigram" or (model["type"] == "BPE" and not marks)


def _keep_special_ids(description: dict[str, Any]) -> None:
    """Gives added tokens that the model does not know their ids in it too: new entries would take those on loading."""
    model = description["model"]
    is_bpe = model["type"] == "BPE"
    known = set(model["vocab"]) if is_bpe else {piece for piece, _ in model["vocab"]}
    for token in sorted(description["added_tokens"], key=lambda token: int(token["id"])):
        if token["content"] in known:
            continue
        if is_bpe:
            model["vocab"][token["content"]] = token["id"]
        else:
            model["vocab"].append([token["content"], NEVER])


def _extend_bpe(
    description: dict[str, Any],
    adoption: Adoption,
    counts: Counter[str],
    listed: Sequence[str],
    num_new: int,
    min_frequency: int,
) -> list[list[int]]:
    """Appends entries and merges to the model; returns the old ids of each new entry.

    Characters that the origin can only spell in bytes become entries first: there is nothing to merge them from.
    """
    model = description["model"]
    names = {number: entry for entry, number in model["vocab"].items()}
    special = {int(token["id"]) for token in description["added_tokens"]}
    merges = NewMerges(names, len(names), frozen=frozenset(special | _bytes_and_unknown(model)))
    for character, old_ids in _missing_characters(adoption, counts, model["vocab"], min_frequency)[:num_new]:
        merges.add_character(character, old_ids)
    model["vocab"] |= {names[number]: number for number in merges.new_ids()}
    core = Tokenizer.from_str(json.dumps(description))
    for word in listed:
        make_whole(_ids_of(core, word), merges, num_new - len(merges.parts))
    encoded = Counter[tuple[int, ...]]()
    for word, count in counts.items():
        encoded[_ids_of(core, word)] += count
    continue_training(encoded, merges, num_new - len(merges.parts), min_frequency)
    model["merges"] += [[names[left], names[right]] for left, right in merges.ranks]
    model["vocab"] |= {names[number]: number for number in merges.new_ids()}
    return [merges.old_ids(number) for number in merges.new_ids()]


def _bytes_and_unknown(model: dict[str, Any]) -> set[int]:
    """Entries that must not be merged: their text is not what they are called."""
    ids = {model["vocab"].get(f"<0x{byte:02X}>") for byte in range(256)} if model["byte_fallback"] else set()
    return {number for number in (*ids, model["vocab"].get(model["unk_token"])) if number is not None}


def _missing_characters(
    adoption: Adoption, counts: Counter[str], vocabulary: dict[str, int], min_frequency: int
) -> list[tuple[str, list[int]]]:
    """Frequent characters without an entry and the old ids that stand for them, most frequent first."""
    found = Counter[str]()
    for word, count in counts.items():
        for character in word:
            if character not in vocabulary:
                found[character] += count
    frequent = sorted((-count, character) for character, count in found.items() if count >= min_frequency)
    spelled = [(character, list(_ids_of(adoption.original, character))) for _, character in frequent]
    return [(character, old_ids) for character, old_ids in spelled if old_ids]


def _extend_unigram(
    description: dict[str, Any],
    adoption: Adoption,
    counts: Counter[str],
    listed: Sequence[str],
    num_new: int,
    min_frequency: int,
) -> list[list[int]]:
    """Appends pieces with scores to the model; returns the old ids of each."""
    vocabulary: list[list[Any]] = description["model"]["vocab"]
    scores = {piece: float(score) for piece, score in vocabulary}
    words = [word for word in dict.fromkeys(listed) if word not in scores][:num_new]
    learned = _learned_pieces(counts, _CANDIDATES_FOR_ONE * num_new + len(scores))
    candidates = {piece: score for piece, score in learned.items() if piece not in scores and piece not in words}
    frequency = _piece_counts(counts, set(candidates))
    found: dict[str, float] = {}
    for piece, score in sorted(candidates.items(), key=lambda item: (-item[1], item[0])):
        is_better = frequency[piece] >= min_frequency and score > _score_of_parts(adoption.core, piece, scores)
        if len(words) + len(found) < num_new and is_better:
            found[piece] = score
    description["model"]["vocab"] = vocabulary + [[piece, score] for piece, score in found.items()]
    with_found = Tokenizer.from_str(json.dumps(description))
    scored = {word: _score_of_word(with_found, word, scores | found) for word in words}
    description["model"]["vocab"] = vocabulary + [[piece, score] for piece, score in (scored | found).items()]
    return [list(_ids_of(adoption.original, piece)) for piece in (*words, *found)]


def _learned_pieces(counts: Counter[str], most: int) -> dict[str, float]:
    """Pieces that SentencePiece's unigram training finds among the words, with their log-probabilities."""
    lines = (f"{word.replace(BLANK, ' ')}\t{count}" for word, count in sorted(counts.items()) if not word.isspace())
    arguments = {"model_type": "unigram", "vocab_size": most, "hard_vocab_limit": False, "input_format": "tsv"}
    trained = run_trainer(lines, arguments, most)
    rows = zip(trained.pieces, trained.scores, trained.is_learned, strict=True)
    return {piece: score for piece, score, learned in rows if learned and not piece.isspace()}


def _piece_counts(counts: Counter[str], pieces: set[str]) -> Counter[str]:
    """How often each piece occurs as a part of a word, wherever it stands."""
    longest = max(map(len, pieces), default=0)
    found = Counter[str]()
    for word, count in counts.items():
        for start in range(len(word)):
            for end in range(start + 1, min(start + longest, len(word)) + 1):
                if word[start:end] in pieces:
                    found[word[start:end]] += count
    return found


def _score_of_parts(core: Tokenizer, piece: str, scores: dict[str, float]) -> float:
    """The log-probability of a piece's best division into old ones."""
    return sum(scores.get(token.value, NEVER) for token in core.model.tokenize(piece))


def _score_of_word(core: Tokenizer, word: str, scores: dict[str, float]) -> float:
    """More than that of any division; the square makes a word beat even the listed words inside of it."""
    return _score_of_parts(core, word, scores) + _WORD_GAIN * len(core.model.tokenize(word)) ** 2


def _ids_of(core: Tokenizer, word: str) -> tuple[int, ...]:
    return tuple(token.id for token in core.model.tokenize(word))
