"""One split of a Hugging Face dataset, from the hub or a local folder, as Parquet shards with all its columns.

The commit is checked before and after `datasets` has looked for the data: without the hub, that library takes whatever
version it finds in its cache. Its errors, and those of the hub's client, quote what a server answered, which can be
the token that was sent to it. So none passes in its own words without the token being cut out.
"""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import logging as hub_logging

from forgeline.core.errors import DataError, write_failure
from forgeline.core.progress import progress
from forgeline.core.storage import sha256_path
from forgeline.sources.fetch_params import HubParams
from forgeline.sources.fetch_rows import RowBudget, RowShards, text_bytes_of_rows

_BATCH_ROWS = 1_000
_SHARD_BYTES, _SHARD_ROWS = 16_000_000, 200_000  # of text and rows: enough for one worker that reads them
_OFFLINE = (
    "without a network, download the dataset where there is one (`hf download ID --repo-type dataset --revision COMMIT "
    "--local-dir FOLDER`), bring the folder here and add it with `forgeline source add`; or run this stage there and "
    "bring data/fetch over with `dvc push` and `dvc pull`"
)


def fetch_hub(params: HubParams, folder: Path, bytes_per_token: float) -> int:
    """Writes the rows as `00000.parquet`, `00001.parquet`, ... into `folder` and returns how many there are.

    Args:
        params: Which dataset, subset, split and commit, and how much of it.
        folder: Made if it is not there.
        bytes_per_token: What `max_tokens` is multiplied with: UTF-8 bytes of text, over all columns of a row.

    Raises:
        DataError: The dataset, commit, subset or split does not exist or may not be read, the hub cannot be reached,
            a folder's content is not the pinned one, or rows of one dataset have columns of different types.
    """
    max_bytes = None if params.max_tokens is None else int(params.max_tokens * bytes_per_token)
    budget = RowBudget(params.max_documents, max_bytes)
    shards = RowShards(folder, _SHARD_BYTES, _SHARD_ROWS)
    with progress(f"{params.dataset} {params.split}", params.max_documents or 0, "rows") as bar:
        for table in _tables(params):
            sizes = text_bytes_of_rows(table)
            num_taken = budget.take(sizes)
            shards.write(table.slice(0, num_taken), sizes[:num_taken])
            bar(num_taken)
            if budget.is_spent:
                break
    if not shards.num_rows:
        raise DataError(f"split '{params.split}' of {params.dataset} holds no rows: choose another split")
    shards.flush()
    return shards.num_rows


def newest_commit(dataset: str) -> str:
    """The commit that the branch `main` of a dataset on the hub points to now.

    Raises:
        DataError: There is no such dataset, it may not be read, or the hub cannot be reached.
    """
    with _explained(dataset):
        commit = HfApi().dataset_info(dataset).sha
        if commit is None:
            raise DataError(f"the hub names no commit of {dataset}: give one with --revision")
        return commit


def _tables(params: HubParams) -> Iterator[pa.Table]:
    """The rows in order, as Arrow tables of at most `_BATCH_ROWS`."""
    with _explained(params.dataset):
        path = _checked_folder(params) if params.is_folder else _checked_id(params)
        builder = _builder(params, path)
        splits = [str(split) for split in builder.config.data_files]
        if params.split not in splits:
            raise DataError(f"{params.dataset} has no split '{params.split}': choose one of {', '.join(splits)}")
        if params.streaming:
            rows = builder.as_streaming_dataset(split=params.split)
        else:
            builder.download_and_prepare()
            rows = builder.as_dataset(split=params.split)
        yield from rows.with_format("arrow").iter(batch_size=_BATCH_ROWS)


def _checked_folder(params: HubParams) -> str:
    folder = Path(params.dataset).expanduser()
    if not folder.is_dir():
        raise DataError(f"there is no folder {params.dataset}: correct the path of the dataset")
    found = sha256_path(folder)
    if found != params.revision:
        raise DataError(
            f"folder {params.dataset} has the content {found}, but params.yaml pins {params.revision}: write the new "
            "one as its revision if it is meant to have changed"
        )
    return str(folder.resolve())


def _checked_id(params: HubParams) -> str:
    info = HfApi().dataset_info(params.dataset, revision=params.revision)
    if info.sha != params.revision:
        raise DataError(f"the hub resolves {params.revision} of {params.dataset} to {info.sha}: give a full commit")
    return f"hf://datasets/{params.dataset}"  # so that a local folder of the same name is not taken for it


def _builder(params: HubParams, path: str) -> Any:
    revision = None if params.is_folder else params.revision
    try:
        builder = datasets.load_dataset_builder(path, params.subset, revision=revision)
    except ValueError:
        subsets = datasets.get_dataset_config_names(path, revision=revision)
        if params.subset in subsets or (params.subset is None and len(subsets) == 1):
            raise
        what = "several subsets" if params.subset is None else f"no subset '{params.subset}'"
        raise DataError(f"{params.dataset} has {what}: choose one of {', '.join(subsets)}") from None
    if revision is not None and builder.hash != revision:
        raise ConnectionError(f"only another version is in the cache of this machine: {builder.hash}")
    return builder


@contextmanager
def _explained(dataset: str) -> Iterator[None]:
    """Turns whatever the libraries raise into one message without the token; a full disk keeps its own."""
    datasets.disable_progress_bars()
    for library_logging in (datasets.logging, hub_logging):  # what they log can quote a server's answer too
        library_logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # they raise what their own libraries raise, and any text may quote a server's answer
        if write_failure(error) is not None:
            raise
        raise DataError(_explanation(dataset, error)) from None


def _explanation(dataset: str, error: Exception) -> str:
    causes = list(_causes(error))

    def among(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    refused = any(isinstance(cause, HfHubHTTPError) and cause.response.status_code in (401, 403) for cause in causes)
    if among(RevisionNotFoundError):
        return f"{dataset} has no such commit on the hub: take one from its page under Files, History"
    if refused or among(GatedRepoError, RepositoryNotFoundError, datasets.exceptions.DatasetNotFoundError):
        return (
            f"{dataset} is not on the hub, or private or gated and your login may not read it: check the name, accept "
            "its terms on its page, and set HF_TOKEN or run `hf auth login`"
        )
    if among(ConnectionError, TimeoutError, socket.gaierror):
        return f"cannot reach the hub for {dataset}: {_OFFLINE}"
    if among(FileNotFoundError):
        return f"{dataset} holds no data files that the `datasets` library can read: {_first_line(error)}"
    return f"cannot read {dataset}: {type(error).__name__}: {_first_line(error)}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: Exception) -> str:
    text = (str(error).strip() or "no reason given").splitlines()[0]
    token = get_token()
    return text.replace(token, "***") if token else text
