"""How large remote files are, as far as their servers say so at once."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import requests

from forgeline.core.errors import DataError
from forgeline.sources.fetch_http import redirect_target

_TIMEOUT_SECONDS = (1.0, 1.0)  # to connect, and for the answer: a plan must not wait for a network
_MAX_REDIRECTS = 4


def remote_sizes(urls: Mapping[str, str]) -> dict[str, int]:
    """Bytes behind each URL, by the key it has in `urls`; what is not known within a few seconds is left out."""
    if not urls:
        return {}
    with ThreadPoolExecutor(max_workers=len(urls)) as pool:
        sizes = dict(zip(urls, pool.map(_content_length, urls.values()), strict=True))
    return {key: size for key, size in sizes.items() if size is not None}


def _content_length(url: str) -> int | None:
    """The Content-Length of a file, after redirects that the download would follow too; its bytes are not read.

    Asked for with GET: where an address is signed for a download, as those of file stores are, HEAD is refused.
    """
    headers = {"Accept-Encoding": "identity"}
    try:
        for _ in range(_MAX_REDIRECTS + 1):
            with requests.get(
                url, headers=headers, stream=True, allow_redirects=False, timeout=_TIMEOUT_SECONDS
            ) as answer:
                if not answer.is_redirect:
                    length = answer.headers.get("Content-Length", "") if answer.ok else ""
                    return int(length) if length.isdecimal() else None
                url = redirect_target(url, answer.headers["Location"])
    except (requests.RequestException, DataError):
        return None  # no network, or a server that does not answer in time
    return None
