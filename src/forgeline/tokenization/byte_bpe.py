"""Training a byte-level BPE tokenizer (Sennrich et al. 2016; bytes as in GPT-2) into a fast tokenizer."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from gigatoken import ParquetFileSource
from gigatoken.gigatoken_rs import train_bpe
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from forgeline.core.errors import ParamsError
from forgeline.core.records import read_documents
from forgeline.tokenization.assembly import Roles, assemble, read_template, unicode_normalizer
from forgeline.tokenization.encoding import CorpusEncoder
from forgeline.tokenization.params import NUM_BYTES, ByteBpeParams
from forgeline.tokenization.template import facts_of


def train_byte_bpe(shards: Sequence[Path], params: ByteBpeParams) -> PreTrainedTokenizerFast:
    """A tokenizer with exactly `params.vocab_size` entries; without normalization every text decodes back to itself.

    gigatoken finds the same merges as the `tokenizers` library, ten times faster, but knows neither normalization nor
    other ways of splitting: with `normalization` or `split_digits` the library trains. gigatoken has no minimum
    frequency either. Counts of merges fall, so it is enough to look at the last one: nothing later takes its
    occurrences away.

    Args:
        shards: Parquet files of documents.
        params: Section `tokenizer`.

    Raises:
        ParamsError: The text does not support that many entries, or the chat template is unknown.
    """
    template = read_template(params.chat_template)
    roles = Roles(end_of_turn=facts_of(template).end_of_turn)
    if params.normalization == "none" and not params.split_digits:
        core = _byte_level(_merges(shards, params), params)
        tokenizer = assemble(core, roles, template, params.other_special_tokens)
        supports = core.get_vocab_size() == params.vocab_size and _last_is_frequent(shards, params, tokenizer)
    else:
        core = _trained_by_library(shards, params)
        tokenizer = assemble(core, roles, template, params.other_special_tokens)
        supports = core.get_vocab_size() == params.vocab_size
    if not supports:
        supported = int(_trained_by_library(shards, params).get_vocab_size())
        raise ParamsError(
            f"params.yaml: tokenizer.vocab_size {params.vocab_size} is more than the text supports: only "
            f"{supported} entries occur at least tokenizer.min_frequency {params.min_frequency} times; "
            f"set vocab_size to {supported} or less, or add text"
        )
    return tokenizer


def _last_is_frequent(shards: Sequence[Path], params: ByteBpeParams, tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether the last entry, if it is a merge at all, occurs often enough."""
    last = params.vocab_size - 1
    if last < NUM_BYTES + len(params.special_tokens):
        return True
    encoder = CorpusEncoder(tokenizer)
    return sum(encoder.count(last, read_documents(shard)["text"]) for shard in shards) >= params.min_frequency


def _merges(shards: Sequence[Path], params: ByteBpeParams) -> list[tuple[str, str]]:
    """The pairs to merge, in order, each part written in the characters that stand for its bytes."""
    with _silenced():
        source = ParquetFileSource(list(shards), column="text")
        _, merges = train_bpe(source, params.vocab_size, list(params.special_tokens))
    character = byte_characters()
    return [("".join(character[b] for b in left), "".join(character[b] for b in right)) for left, right in merges]


def byte_characters() -> dict[int, str]:
    """The printable character that stands for each byte in a byte-level vocabulary (Radford et al. 2019, GPT-2)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}


def _byte_level(merges: Sequence[tuple[str, str]], params: ByteBpeParams) -> Tokenizer:
    """Special tokens first, then all bytes by their character, then what merging makes, as the library orders them."""
    entries = dict.fromkeys([*params.special_tokens, *sorted(byte_characters().values())])
    entries |= dict.fromkeys(left + right for left, right in merges)
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    unicode = unicode_normalizer(params.normalization)
    if unicode is not None:
        core.normalizer = unicode
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if params.split_digits:
        digits = pre_tokenizers.Digits(individual_digits=True)
        core.pre_tokenizer = pre_tokenizers.Sequence([digits, core.pre_tokenizer])
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(params.special_tokens))
    return core


def _trained_by_library(shards: Sequence[Path], params: ByteBpeParams) -> Tokenizer:
    """The `tokenizers` library's training; merges as long as they are frequent enough, `vocab_size` entries at most."""
    core = _byte_level([], params)
    trainer = trainers.BpeTrainer(
        vocab_size=params.vocab_size,
        min_frequency=params.min_frequency,
        special_tokens=list(params.special_tokens),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator((read_documents(shard)["text"].to_pylist() for shard in shards), trainer=trainer)
    return core


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keeps what a library prints past Python's streams off the terminal."""
    with open(os.devnull, "w") as nowhere:
        saved = [(number, os.dup(number)) for number in (1, 2)]
        try:
            for number, _ in saved:
                os.dup2(nowhere.fileno(), number)
            yield
        finally:
            for number, copy in saved:
                os.dup2(copy, number)
                os.close(copy)
