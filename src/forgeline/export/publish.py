"""A model folder with its card, as it is given to others, and its way to the Hugging Face hub."""

import logging
import shutil
from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils.tqdm import disable_progress_bars

from forgeline.core.errors import DataError
from forgeline.export.card import model_card, read_evidence
from forgeline.model.loading import MODEL_CONFIG, is_adapter
from forgeline.reporting.names import name_here
from forgeline.sources.params import SourcesParams
from forgeline.text.card import CardParams
from forgeline.tokenization.fingerprint import tokenizer_fingerprint

CARD = "README.md"


def publish(folder: Path, target: Path, metrics: Path, card: CardParams, ingest: SourcesParams) -> None:
    """Copies a model folder and adds the card; the original stays as DVC knows it.

    Args:
        folder: A model of this repository.
        target: A folder that does not exist yet.
        metrics: The folder of the metrics files.
        card: What people say about the corpus.
        ingest: Its sources.

    Raises:
        DataError: There is no whole model with a tokenizer and lineage in `folder`, or `target` exists.
    """
    if is_adapter(folder) or not (folder / MODEL_CONFIG).is_file():
        raise DataError(f"{folder} holds no whole model: publish a merged one such as models/grpo")
    tokenizer_fingerprint(folder)  # says what is wrong when there is none
    text = model_card(name_here(folder), read_evidence(folder, metrics), card, ingest)
    if target.exists():
        raise DataError(f"{target} exists: delete it or choose another folder")
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(folder, partial)
    (partial / CARD).write_text(text.replace("FOLDER", target.name), encoding="utf-8")
    partial.replace(target)


def push(folder: Path, repository: str) -> str:
    """Uploads a folder to a model repository of the hub, made private if there is none yet.

    The token is the one that `hf auth login` stored or HF_TOKEN holds; no message repeats it.

    Returns:
        The address of the commit.

    Raises:
        DataError: There is no token, no connection, no such name, or no permission.
    """
    token = get_token()
    if token is None:
        raise DataError("no token for the Hugging Face hub: set HF_TOKEN, or run `hf auth login`")
    hub_logging.set_verbosity(logging.CRITICAL)  # what it logs can quote a server's answer, and that a token
    disable_progress_bars()
    api = HfApi(token=token)
    try:
        api.create_repo(repository, repo_type="model", private=True, exist_ok=True)
        commit = api.upload_folder(repo_id=repository, folder_path=str(folder), commit_message=f"Upload {folder.name}")
    except Exception as error:  # the library raises what its own libraries raise, and any text may quote the token
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].replace(token, "***")
        raise DataError(
            f"{repository} could not be uploaded ({reason}): check the name, the connection and what the token may do"
        ) from None
    return str(commit.commit_url).replace(token, "***")
