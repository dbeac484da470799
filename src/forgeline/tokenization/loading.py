"""Reading a frozen tokenizer."""

import os
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from forgeline.core.errors import FingerprintError
from forgeline.core.storage import read_json, sha256_path
from forgeline.tokenization.fingerprint import tokenizer_fingerprint
from forgeline.tokenization.template import TEMPLATE_FILE

FORCE_VARIABLE = "FORGELINE_CHAT_TEMPLATE"  # "force" takes a model's chat template as it is


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer saved in a tokenizer or model folder, with its chat template.

    Raises:
        DataError: The folder holds no tokenizer.
        FingerprintError: Its chat template is another than the model was trained with.
    """
    tokenizer_fingerprint(folder)  # says what is wrong when the file is missing
    require_own_template(folder)
    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


def require_own_template(folder: Path) -> None:
    """Refuses a chat template that was changed after training: the model would be asked in words it never saw.

    Raises:
        FingerprintError: lineage.json names another one, unless the environment says `FORGELINE_CHAT_TEMPLATE=force`.
    """
    lineage = folder / "lineage.json"
    trained = read_json(lineage).get("chat_template") if lineage.is_file() else None
    if trained is None or os.environ.get(FORCE_VARIABLE) == "force":
        return
    file = folder / TEMPLATE_FILE
    found = sha256_path(file) if file.is_file() else "none"
    if found != trained:
        raise FingerprintError(
            f"{folder} was trained with chat template {trained[:16]}, but its {TEMPLATE_FILE} has {found[:16]}: put "
            f"the old one back (`dvc checkout {folder}`), or set {FORCE_VARIABLE}=force to use this one all the same"
        )
