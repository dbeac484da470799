"""One file over HTTP(S): resumed where an attempt was cut, capped in size, and handed on only with the pinned bytes.

A resumed download asks for the rest with `Range`, and with `If-Range` where the server names a version (RFC 9110,
section 13.1.5), so that a file that changed meanwhile is sent whole. What was resumed and then has the wrong hash is
fetched once more from the start.
"""

import re
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError as TransferError

from forgeline.core.errors import DataError
from forgeline.core.progress import progress
from forgeline.core.storage import sha256_path
from forgeline.sources.fetch_params import HttpParams, display_url, file_name

MEGABYTE = 1_000_000
_PARTIAL, _VERSION = "partial", "version"  # in the scratch folder: the bytes so far, and which version they are of
_PAUSES_SECONDS = (1.0, 2.0, 4.0)  # before another attempt; after the last one it is an error
_TIMEOUT_SECONDS = (15.0, 60.0)  # to connect, and to wait for the next piece
_CHUNK_BYTES = 1 << 18
_MAX_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_MAY_PASS = (408, 425, 429, 500, 502, 503, 504)
_ANOTHER_WAY = (
    "Without a network, run this stage where there is one and bring data/fetch over with `dvc push` and `dvc pull`, or "
    "put the file here and name its path in ingest.sources"
)


class _Interrupted(Exception):
    """An attempt ended for a reason that may pass; the text says which."""


def fetch_http(params: HttpParams, folder: Path, scratch: Path, copy: Path | None) -> Path:
    """Brings the file into `folder` under the name that its URL gives it, and returns where it is.

    Args:
        params: The URL, the pin and the cap.
        folder: Made if it is not there. Nothing but the whole, right file is written into it.
        scratch: Where an unfinished download waits for the next attempt.
        copy: A file here with the pinned bytes, which saves the download.

    Raises:
        DataError: The file cannot be had, is too large, or has another SHA-256 (both are named). In the last two cases
            nothing of it is left.
    """
    partial = scratch / _PARTIAL
    if copy is not None:
        shutil.copyfile(copy, partial)
    found = sha256_path(partial) if partial.exists() else None
    if found != params.sha256:
        resumed = download(params.url, params.max_megabytes, scratch)
        found = sha256_path(partial)
        if resumed and found != params.sha256:  # parts of two versions, perhaps
            _forget(scratch)
            download(params.url, params.max_megabytes, scratch)
            found = sha256_path(partial)
    if found != params.sha256:
        _forget(scratch)
        raise DataError(
            f"{display_url(params.url)} has sha256 {found}, but params.yaml pins {params.sha256}: if the file is meant "
            "to have changed, pin the new one, otherwise correct the URL"
        )
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file_name(params.url)
    shutil.move(partial, target)
    return target


def pin_url(url: str, max_megabytes: float, scratch: Path) -> str:
    """Downloads what is behind a URL now and returns its SHA-256; `fetch_http` with that pin and scratch uses it."""
    download(url, max_megabytes, scratch)
    return sha256_path(scratch / _PARTIAL)


def download(url: str, max_megabytes: float, scratch: Path) -> bool:
    """Brings a file, whatever its content, into the scratch folder; returns whether a part was there before.

    Raises:
        DataError: The file cannot be had or is too large.
    """
    partial = scratch / _PARTIAL
    resumed, most, failures = False, _size(partial), 0
    while True:
        resumed |= _size(partial) > 0
        try:
            _attempt(url, max_megabytes, scratch)
            return resumed
        except _Interrupted as cut:
            failures = failures + 1 if _size(partial) <= most else 1
            if failures > len(_PAUSES_SECONDS):
                raise DataError(
                    f"cannot download {display_url(url)}: {cut}: run again to go on. {_ANOTHER_WAY}"
                ) from None
        most = max(most, _size(partial))
        time.sleep(_PAUSES_SECONDS[failures - 1])


def _attempt(url: str, max_megabytes: float, scratch: Path) -> None:
    """Reads on from the end of the partial file to the end of the remote one."""
    partial = scratch / _PARTIAL
    have = _size(partial)
    with _explained(url), _open(url, _request_headers(have, scratch)) as response:
        total = _remote_size(response)
        if response.status_code == 416 and total == have:
            return
        start = _start(response)
        if start not in (0, have):
            _forget(scratch)
            raise _Interrupted("the server sent another part than it was asked for")
        if total is not None and total > max_megabytes * MEGABYTE:
            raise _too_large(url, f"has {total / MEGABYTE:,.1f} MB", max_megabytes, scratch)
        if start == 0:
            _begin(response, scratch)
        name = file_name(url)
        remaining = total - start if total is not None else 0
        with partial.open("ab") as file, progress(name, remaining / MEGABYTE, "MB") as bar:
            for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
                if file.tell() + len(chunk) > max_megabytes * MEGABYTE:
                    raise _too_large(url, "goes on", max_megabytes, scratch)
                file.write(chunk)
                bar(len(chunk) / MEGABYTE)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _request_headers(have: int, scratch: Path) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity"}  # the pinned bytes are those of the file, not of a compressed transfer
    if have:
        headers["Range"] = f"bytes={have}-"
        if (scratch / _VERSION).exists():
            headers["If-Range"] = (scratch / _VERSION).read_text(encoding="utf-8")
    return headers


def _forget(scratch: Path) -> None:
    (scratch / _PARTIAL).unlink(missing_ok=True)  # first: a part without its version is found out by its hash
    (scratch / _VERSION).unlink(missing_ok=True)


def _begin(response: requests.Response, scratch: Path) -> None:
    """Forgets an earlier part and notes the version of the file that begins now, if the server names one."""
    _forget(scratch)
    tag = response.headers.get("ETag", "")
    version = tag if tag.startswith('"') else response.headers.get("Last-Modified")  # W/"..." may not be used here
    if version:
        (scratch / _VERSION).write_text(version, encoding="utf-8")


def _start(response: requests.Response) -> int:
    """At which byte of the file the answer starts; -1 if it does not say."""
    if response.status_code == 200:
        return 0
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else -1


def _remote_size(response: requests.Response) -> int | None:
    """The size of the whole file, if the answer tells it."""
    if response.status_code == 200:
        found = re.fullmatch(r"(\d+)", response.headers.get("Content-Length", ""))
    else:
        found = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _too_large(url: str, how: str, max_megabytes: float, scratch: Path) -> DataError:
    _forget(scratch)
    return DataError(
        f"{display_url(url)} {how}, beyond its max_megabytes {max_megabytes:,g}: raise that if it is the right file"
    )


class _Session(requests.Session):
    """Follows no redirect, and does not look into one either, which would read all of the answer's body."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """No target: `_open` sees to it."""


@contextmanager
def _open(url: str, headers: dict[str, str]) -> Iterator[requests.Response]:
    """The answer to a request, after redirects that were each checked; a user name and password come from ~/.netrc."""
    with _Session() as session:
        for _ in range(_MAX_REDIRECTS + 1):
            request = session.get(url, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS)
            with request as response:
                if response.status_code not in _REDIRECTS:
                    _check_status(url, response.status_code)
                    yield response
                    return
                url = redirect_target(url, response.headers.get("Location", ""))
    raise DataError(f"{display_url(url)} is redirected more than {_MAX_REDIRECTS} times: correct the URL")


def redirect_target(url: str, location: str) -> str:
    """Where a redirect leads.

    Raises:
        DataError: Off https to plain http, or to anything that is not a URL of either.
    """
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
    except ValueError:
        parts = urlsplit("")
    if not location or parts.scheme not in ("http", "https") or not parts.hostname:
        raise DataError(f"{display_url(url)} redirects to something that is no http(s) URL: correct the URL")
    if urlsplit(url).scheme == "https" and parts.scheme == "http":
        raise DataError(
            f"{display_url(url)} redirects off https to http://{parts.hostname}: refused, since others could read and "
            "change what is sent. If that is meant, give the http URL itself"
        )
    return target


def _check_status(url: str, status: int) -> None:
    if status in (200, 206, 416):
        return
    if status in _MAY_PASS:
        raise _Interrupted(f"the server answered {status}")
    advice = {
        401: "it asks for a login: write user name and password into ~/.netrc (for the hub use kind hub and HF_TOKEN)",
        403: "access is refused: write user name and password into ~/.netrc if you have one",
        404: "nothing is there: correct the URL",
        410: "it is gone: correct the URL",
    }.get(status, "correct the URL")
    raise DataError(f"{display_url(url)}: the server answered {status}: {advice}")


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Failures of the network in our words: the libraries' quote the whole URL that they were redirected to."""
    try:
        yield
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema):
        raise DataError(f"{display_url(url)} or what it redirects to is no valid URL: correct it") from None
    except (requests.RequestException, TransferError) as error:
        chain = list(_causes(error))
        for cause in chain:
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise DataError(
                    f"{display_url(url)}: the server's certificate is not trusted ({cause.verify_message}): correct "
                    "the URL, or name your organisation's certificates in REQUESTS_CA_BUNDLE"
                ) from None
        raise _Interrupted(_reason(chain)) from None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(chain: list[BaseException]) -> str:
    if any(isinstance(cause, requests.exceptions.ProxyError) for cause in chain):
        return "the proxy of this machine refuses (see https_proxy)"
    if any(isinstance(cause, socket.gaierror) for cause in chain):
        return "its host is not found, or there is no network"
    if any(isinstance(cause, ConnectionRefusedError) for cause in chain):
        return "the connection is refused"
    if any(isinstance(cause, TimeoutError | requests.Timeout) for cause in chain):
        return "there is no answer"
    return "the connection was cut"
