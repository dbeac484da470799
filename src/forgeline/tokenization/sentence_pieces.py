"""SentencePiece models (Kudo & Richardson 2018) trained on documents and carried over into fast tokenizers, id for id.

Text is not changed on the way: no blank is put before it, none is taken away, newlines and tabs are pieces of their
own. Normalization, if asked for, is done by the `tokenizers` library in training as in encoding, so both see one
Unicode version.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from forgeline.core.errors import ParamsError
from forgeline.core.records import read_documents
from forgeline.tokenization.assembly import Roles, assemble, read_template, unicode_normalizer
from forgeline.tokenization.domain_words import BLANK
from forgeline.tokenization.params import (
    END_OF_TEXT,
    PAD,
    SentencePieceParams,
    SentencePieceUnigramParams,
)
from forgeline.tokenization.template import END_OF_TURN, facts_of

UNKNOWN = "<unk>"
# Below any sum of scores: text that spells such an entry is text. Its characters all have pieces, so it can be.
NEVER = -1e9
_SEPARATORS = ("\n", "\t")  # SentencePiece never trains a piece with one of them in it
_NUM_THREADS = 16  # sums of floats depend on it, so it is the same on every machine
_UNLIMITED_BYTES = 2**30  # longest sentence; by default long lines are skipped without a word


@dataclass(frozen=True)
class SentencePieces:
    """A trained model: entry i is `pieces[i]` with the score `scores[i]`.

    Attributes:
        pieces: Control symbols, the unknown token, separators, bytes, then what was learned.
        scores: Log-probabilities of a unigram model; of BPE the negated order of merging.
        is_learned: Whether the text itself can match the piece.
        model: SentencePiece's own file.
    """

    pieces: list[str]
    scores: list[float]
    is_learned: list[bool]
    model: bytes


def train_sentencepiece(shards: Sequence[Path], params: SentencePieceParams) -> PreTrainedTokenizerFast:
    """A fast tokenizer with exactly `params.vocab_size` entries that gives SentencePiece's ids.

    Args:
        shards: Parquet files of documents.
        params: Section `tokenizer`.

    Raises:
        ParamsError: The text does not support that many entries, its characters alone are more, or the chat template is
            unknown.
    """
    template = read_template(params.chat_template)
    unicode = unicode_normalizer(params.normalization)
    lines = document_lines(shards, unicode.normalize_str if unicode else lambda text: text)
    core = fast_tokenizer(train_pieces(lines, params), params)
    roles = Roles(end_of_turn=facts_of(template).end_of_turn, unknown=UNKNOWN)
    return assemble(core, roles, template, params.other_special_tokens)


def document_lines(shards: Sequence[Path], normalize: Callable[[str], str]) -> Iterator[str]:
    """The lines of all documents, normalized, in order. SentencePiece cannot read U+0000, so it is left out."""
    for shard in shards:
        for text in read_documents(shard)["text"].to_pylist():
            for line in re.split(r"[\n\t]", normalize(text).replace("\0", "")):
                if line:
                    yield line


def train_pieces(lines: Iterator[str], params: SentencePieceParams) -> SentencePieces:
    """A SentencePiece model of `lines`, the same for any number of threads of the machine.

    Raises:
        ParamsError: The text does not support `vocab_size` pieces, or its characters alone are more than that.
    """
    model_type = "unigram" if isinstance(params, SentencePieceUnigramParams) else "bpe"
    spelled = {*"".join([*params.special_tokens, UNKNOWN]), *("<0x>0123456789ABCDEF" if params.byte_fallback else "")}
    arguments: dict[str, Any] = {
        "model_type": model_type,
        "vocab_size": params.vocab_size,
        "character_coverage": params.character_coverage,
        "byte_fallback": params.byte_fallback,
        "split_digits": params.split_digits,
        "control_symbols": [token for token in params.special_tokens if token not in (END_OF_TEXT, PAD, END_OF_TURN)],
        "required_chars": "".join(sorted(spelled)),
        "user_defined_symbols": list(_SEPARATORS),
    }
    return run_trainer(lines, arguments, params.vocab_size)


def run_trainer(lines: Iterator[str], arguments: dict[str, Any], vocab_size: int) -> SentencePieces:
    """Trains with SentencePiece; special tokens get the places that `params` fixes.

    Raises:
        ParamsError: The text does not support `vocab_size` pieces, or its characters alone are more than that.
    """
    with tempfile.TemporaryDirectory() as folder:
        prefix = os.path.join(folder, "model")
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=lines,
                model_prefix=prefix,
                normalization_rule_name="identity",
                add_dummy_prefix=False,
                remove_extra_whitespaces=False,
                allow_whitespace_only_pieces=True,
                max_sentence_length=_UNLIMITED_BYTES,
                num_threads=_NUM_THREADS,
                bos_id=0,
                bos_piece=END_OF_TEXT,
                pad_id=1,
                pad_piece=PAD,
                eos_id=3,
                eos_piece=END_OF_TURN,
                unk_id=4,
                unk_piece=UNKNOWN,
                minloglevel=2,
                **arguments,
            )
        except RuntimeError as error:
            raise _explained(str(error), vocab_size) from None
        model = Path(f"{prefix}.model").read_bytes()
    return _read_pieces(model)


def fast_tokenizer(trained: SentencePieces, params: SentencePieceParams) -> Tokenizer:
    """A tokenizer of the `tokenizers` library that gives the same ids.

    A piece's place is its id in both. What text must not match (control symbols, bytes) scores `NEVER` in a unigram
    model; in BPE nothing merges into it. SentencePiece merges the pair with the best piece first, the library the pair
    that comes first in its list, so pairs are listed by the score of their piece.
    """
    if isinstance(params, SentencePieceUnigramParams):
        vocabulary = [
            (piece, score if learned else NEVER)
            for piece, score, learned in zip(trained.pieces, trained.scores, trained.is_learned, strict=True)
        ]
        core = Tokenizer(models.Unigram(vocabulary, trained.pieces.index(UNKNOWN), params.byte_fallback))
    else:
        core = Tokenizer(
            models.BPE(
                vocab={piece: number for number, piece in enumerate(trained.pieces)},
                merges=_merges(trained),
                unk_token=UNKNOWN,
                fuse_unk=True,
                byte_fallback=params.byte_fallback,
            )
        )
    unicode = unicode_normalizer(params.normalization)
    core.normalizer = normalizers.Sequence([*([unicode] if unicode else []), normalizers.Replace(" ", BLANK)])
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\n\t]"), "isolated")
    from_bytes = [decoders.ByteFallback()] if params.byte_fallback else []
    core.decoder = decoders.Sequence([decoders.Replace(BLANK, " "), *from_bytes, decoders.Fuse()])
    core.add_special_tokens([AddedToken(token, normalized=False) for token in (*params.special_tokens, UNKNOWN)])
    return core


def _read_pieces(model: bytes) -> SentencePieces:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids = range(processor.get_piece_size())
    pieces = [processor.id_to_piece(number) for number in ids]
    learned = [
        not (processor.is_control(number) or processor.is_unknown(number) or processor.is_byte(number))
        for number in ids
    ]
    return SentencePieces(pieces, [processor.get_score(number) for number in ids], learned, model)


def _merges(trained: SentencePieces) -> list[tuple[str, str]]:
    """All pairs of pieces that make up a piece, best piece first; those of one piece by the ids of their parts."""
    known = {
        piece: number
        for number, (piece, learned) in enumerate(zip(trained.pieces, trained.is_learned, strict=True))
        if learned and piece not in _SEPARATORS
    }
    pairs: list[tuple[float, int, int, tuple[str, str]]] = []
    for piece, number in known.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in known and right in known:
                pairs.append((-trained.scores[number], known[left], known[right], (left, right)))
    return [pair for *_, pair in sorted(pairs)]


def _explained(problem: str, vocab_size: int) -> ParamsError:
    """SentencePiece's refusal in the words of params.yaml."""
    if most := re.search(r"Vocabulary size too high .*<= (\d+)", problem):
        return ParamsError(
            f"params.yaml: tokenizer.vocab_size {vocab_size} is more than the text supports: set it to {most[1]} or "
            "less, or add text"
        )
    if least := re.search(r"required_chars\. \d+ vs (\d+)", problem):
        return ParamsError(
            f"params.yaml: tokenizer.vocab_size {vocab_size} has no room for the text's characters: set it to more "
            f"than {least[1]}, or lower tokenizer.character_coverage"
        )
    return ParamsError(f"params.yaml: SentencePiece cannot train with the knobs of tokenizer: {problem}")
