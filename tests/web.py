"""A web server on this machine that serves bytes as well or as badly as a test wants."""

import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Page:
    """What is behind one path.

    Attributes:
        body: Its bytes.
        ranges: Whether parts can be asked for.
        etag: Version, sent as it is; None sends none.
        cut_after: For each answer in turn, after how many bytes the connection is dropped; afterwards none is.
        length: Whether the size is told.
        endless: Goes on forever after the body.
        hold_after: After how many bytes nothing more comes, as long as the server runs; None never.
        status: Answered instead of the body unless it is 200.
        headers: More of them, `Location` for instance.
    """

    body: bytes = b""
    ranges: bool = True
    etag: str | None = '"1"'
    cut_after: list[int] = field(default_factory=list)
    length: bool = True
    endless: bool = False
    hold_after: int | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Site:
    """A running server: its address, its pages by path, and what was asked for and sent so far."""

    url: str
    pages: dict[str, Page]
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    num_bytes_sent: int = 0
    ends: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serve(pages: dict[str, Page], certificate: Path | None = None) -> Iterator[Site]:
    """Runs a server while the block runs; with a certificate (and key, in one PEM file) it speaks https."""
    site = Site("", pages)
    server = _Server(site)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    site.url = f"{'https' if certificate else 'http'}://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.ends.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, site: Site) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.site = site


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def _site(self) -> Site:
        assert isinstance(self.server, _Server)
        return self.server.site

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self._site.requests.append((path, dict(self.headers)))
        page = self._site.pages.get(path, Page(status=404))
        self.close_connection = True
        if page.status != 200:
            self._begin(page.status, {"Content-Length": "0", **page.headers})
            return
        start = self._start(page)
        if start > len(page.body) or (start and start == len(page.body)):
            self._begin(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(page.body)}"})
            return
        headers = {"ETag": page.etag} if page.etag else {}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(page.body) - 1}/{len(page.body)}"
        if page.length:
            headers["Content-Length"] = str(len(page.body) - start)
        self._begin(206 if start else 200, headers | page.headers)
        self._send(page, start)

    def _start(self, page: Page) -> int:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not asked or not page.ranges or self.headers.get("If-Range", page.etag) != page.etag:
            return 0
        return int(asked[1])

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, page: Page, start: int) -> None:
        body = page.body[start:]
        if page.cut_after:
            body = body[: page.cut_after.pop(0)]
        if page.hold_after is not None:
            body = body[: page.hold_after]
        try:
            while body:
                self.wfile.write(body)
                self._site.num_bytes_sent += len(body)
                body = bytes(1 << 16) if page.endless else b""
            if page.hold_after is not None:
                self._site.ends.wait()
        except OSError:
            pass  # the client has gone

    def log_message(self, format: str, *arguments: object) -> None:
        pass
