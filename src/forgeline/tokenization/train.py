"""Training a byte-level BPE tokenizer (Sennrich et al. 2016; bytes as in GPT-2) into a Hugging Face fast tokenizer."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

from gigatoken import ParquetFileSource
from gigatoken.gigatoken_rs import train_bpe
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.records import read_documents
from forgeline.core.shards import num_rows
from forgeline.tokenization.encoding import CorpusEncoder
from forgeline.tokenization.params import END_OF_TEXT, END_OF_TURN, PAD, SPECIAL_TOKENS, TokenizerParams


def train_tokenizer(shards: Sequence[Path], params: TokenizerParams) -> PreTrainedTokenizerFast:
    """A tokenizer with exactly `params.vocab_size` entries; every text encodes and decodes back to itself.

    gigatoken finds the same merges as the `tokenizers` library, ten times faster, but has no minimum frequency. Counts
    of merges fall, so it is enough to look at the last one: nothing later takes its occurrences away.

    Args:
        shards: Parquet files of documents.
        params: Section `tokenizer`.

    Raises:
        DataError: There is no text.
        ParamsError: The text does not support that many entries, or the chat template is unknown.
    """
    template = read_template(params.chat_template)
    if sum(map(num_rows, shards)) == 0:
        raise DataError("no training documents are left to train a tokenizer on: loosen `clean` or `curate`")
    merges = _merges(shards, params.vocab_size)
    core = _byte_level(merges)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TURN,
        pad_token=PAD,
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )
    encoder, last = CorpusEncoder(tokenizer), params.vocab_size - 1
    frequency = sum(encoder.count(last, read_documents(shard)["text"]) for shard in shards) if merges else None
    if core.get_vocab_size() < params.vocab_size or (frequency is not None and frequency < params.min_frequency):
        supported = _supported_size(shards, params)
        raise ParamsError(
            f"params.yaml: tokenizer.vocab_size {params.vocab_size} is more than the text supports: only "
            f"{supported} entries occur at least tokenizer.min_frequency {params.min_frequency} times; "
            f"set vocab_size to {supported} or less, or add text"
        )
    return tokenizer


def read_template(name: str) -> str:
    """The chat template called `name`.

    Raises:
        ParamsError: There is none; the message lists those there are.
    """
    folder = resources.files("forgeline.tokenization.templates")
    known = sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".jinja"))
    if name not in known:
        raise ParamsError(f"params.yaml: tokenizer.chat_template '{name}' is not one of {', '.join(known)}")
    return (folder / f"{name}.jinja").read_text(encoding="utf-8").rstrip("\n")


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes tokenizer.json, tokenizer_config.json and chat_template.jinja."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)


def _merges(shards: Sequence[Path], vocab_size: int) -> list[tuple[str, str]]:
    """The pairs to merge, in order, each part written in the characters that stand for its bytes."""
    with _silenced():
        _, merges = train_bpe(ParquetFileSource(list(shards), column="text"), vocab_size, list(SPECIAL_TOKENS))
    character = _byte_characters()
    return [("".join(character[b] for b in left), "".join(character[b] for b in right)) for left, right in merges]


def _byte_characters() -> dict[int, str]:
    """The printable character that stands for each byte in a byte-level vocabulary (Radford et al. 2019, GPT-2)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}


def _byte_level(merges: Sequence[tuple[str, str]]) -> Tokenizer:
    """Special tokens first, then all bytes by their character, then what merging makes, as the library orders them."""
    entries = dict.fromkeys([*SPECIAL_TOKENS, *sorted(_byte_characters().values())])
    entries |= dict.fromkeys(left + right for left, right in merges)
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(SPECIAL_TOKENS))
    return core


def _supported_size(shards: Sequence[Path], params: TokenizerParams) -> int:
    """The largest vocabulary with every merge frequent enough, by the library that can count; for a message only."""
    core = _byte_level([])
    trainer = trainers.BpeTrainer(
        vocab_size=params.vocab_size,
        min_frequency=params.min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator((read_documents(shard)["text"].to_pylist() for shard in shards), trainer=trainer)
    return int(core.get_vocab_size())


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
