"""Making the tokenizer of params.yaml, of whichever kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from forgeline.core.errors import DataError
from forgeline.core.shards import num_rows
from forgeline.tokenization.adopt import adopt_tokenizer
from forgeline.tokenization.assembly import save_tokenizer
from forgeline.tokenization.byte_bpe import train_byte_bpe
from forgeline.tokenization.extend import extend_tokenizer
from forgeline.tokenization.extension import Extension, write_extension
from forgeline.tokenization.params import AdoptParams, AnyTokenizerParams, ByteBpeParams, ExtendParams
from forgeline.tokenization.sentence_pieces import train_sentencepiece


@dataclass(frozen=True)
class MadeTokenizer:
    """A tokenizer, and for kinds that begin with an origin's what was added to that."""

    tokenizer: PreTrainedTokenizerFast
    extension: Extension | None

    @property
    def added_tokens(self) -> list[str]:
        """Entries that the origin's tokenizer did not have, in the order of their ids."""
        if self.extension is None:
            return []
        first = self.extension.base_vocab_size
        added = range(first, first + len(self.extension.pieces))
        return [str(token) for token in self.tokenizer.convert_ids_to_tokens(list(added))]

    @property
    def added_special_tokens(self) -> list[str]:
        """Those of the added entries that the pipeline needs, or that params.yaml names."""
        special = self.tokenizer.all_special_tokens
        return [token for token in self.added_tokens if token in special]

    @property
    def roles(self) -> dict[str, str]:
        """Which token goes between documents, which ends a turn and which fills rows."""
        known = self.tokenizer.special_tokens_map
        names = {"end_of_document": "bos_token", "end_of_turn": "eos_token", "pad": "pad_token"}
        return {role: str(known[name]) for role, name in names.items()}

    def save(self, folder: Path) -> None:
        """Writes the tokenizer's files and, where there is an origin, extension.json."""
        save_tokenizer(self.tokenizer, folder)
        if self.extension is not None:
            write_extension(folder, self.extension)


def make_tokenizer(shards: Sequence[Path], params: AnyTokenizerParams) -> MadeTokenizer:
    """The tokenizer that section `tokenizer` asks for.

    Args:
        shards: Parquet files of the training documents.
        params: One of the kinds.

    Raises:
        DataError: There is no text to train on, or the origin holds no tokenizer that can be used.
        ParamsError: The text does not support so many entries, or a knob names what is not there.
    """
    if isinstance(params, AdoptParams) and not isinstance(params, ExtendParams):
        return MadeTokenizer(*adopt_tokenizer(params))
    if sum(map(num_rows, shards)) == 0:
        raise DataError("no training documents are left to train a tokenizer on: loosen `clean` or `curate`")
    if isinstance(params, ExtendParams):
        return MadeTokenizer(*extend_tokenizer(shards, params))
    if isinstance(params, ByteBpeParams):
        return MadeTokenizer(train_byte_bpe(shards, params), None)
    return MadeTokenizer(train_sentencepiece(shards, params), None)
