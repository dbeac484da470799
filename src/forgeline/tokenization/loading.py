"""Reading a frozen tokenizer."""

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from forgeline.tokenization.fingerprint import tokenizer_fingerprint


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer saved in a tokenizer or model folder, with its chat template.

    Raises:
        DataError: The folder holds no tokenizer.
    """
    tokenizer_fingerprint(folder)  # says what is wrong when the file is missing
    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
