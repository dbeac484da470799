"""Training a byte-level BPE tokenizer (Sennrich et al. 2016; bytes as in GPT-2) into a Hugging Face fast tokenizer."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pyarrow as pa
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from forgeline.core.errors import DataError, ParamsError
from forgeline.tokenization.params import END_OF_TEXT, END_OF_TURN, PAD, SPECIAL_TOKENS, TokenizerParams

_BATCH_DOCUMENTS = 1_000


@dataclass(frozen=True)
class TokenizerReport:
    """What a tokenizer does to the text it was trained on."""

    vocab_size: int
    bytes_per_token: float
    tokens_per_word: float
    num_round_trip_failures: int


def train_tokenizer(documents: pa.Table, params: TokenizerParams) -> PreTrainedTokenizerFast:
    """A tokenizer with exactly `params.vocab_size` entries; every text encodes and decodes back to itself.

    Raises:
        DataError: There is no text.
        ParamsError: The text does not support that many entries, or the chat template is unknown.
    """
    if documents.num_rows == 0:
        raise DataError("no training documents are left to train a tokenizer on: loosen `clean` or `curate`")
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=params.vocab_size,
        min_frequency=params.min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(_batches(documents), trainer=trainer, length=documents.num_rows)
    if core.get_vocab_size() < params.vocab_size:
        raise ParamsError(
            f"params.yaml: tokenizer.vocab_size {params.vocab_size} is more than the text supports: only "
            f"{core.get_vocab_size()} entries occur at least tokenizer.min_frequency {params.min_frequency} times; "
            f"set vocab_size to {core.get_vocab_size()} or less, or add text"
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TURN,
        pad_token=PAD,
        chat_template=read_template(params.chat_template),
        clean_up_tokenization_spaces=False,
    )


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


def report(tokenizer: PreTrainedTokenizerFast, documents: pa.Table) -> TokenizerReport:
    """Compression and round trip over all documents."""
    texts = documents["text"].to_pylist()
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    num_tokens = sum(map(len, ids))
    decoded = tokenizer.batch_decode(ids)
    return TokenizerReport(
        vocab_size=len(tokenizer),
        bytes_per_token=sum(len(text.encode()) for text in texts) / num_tokens,
        tokens_per_word=num_tokens / sum(len(text.split()) for text in texts),
        num_round_trip_failures=sum(text != back for text, back in zip(texts, decoded, strict=True)),
    )


def _batches(documents: pa.Table) -> Iterator[list[str]]:
    for batch in documents.select(["text"]).to_batches(max_chunksize=_BATCH_DOCUMENTS):
        yield batch.column(0).to_pylist()
