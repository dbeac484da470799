"""A Hugging Face hub on this machine: the few answers of its API that reading a dataset needs."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Hub:
    """A running hub with one dataset at one commit.

    Attributes:
        dataset: Its id.
        commit: 40 hex digits; `main` is the same.
        files: Its files by path.
        token: Who wants anything has to send it; None lets everybody in.
        url: What HF_ENDPOINT has to say.
        tokens: Every `Authorization` header that came.
        num_bytes_sent: Of the files.
    """

    dataset: str
    commit: str
    files: Mapping[str, bytes]
    token: str | None
    url: str = ""
    tokens: list[str | None] = field(default_factory=list)
    num_bytes_sent: int = 0


@contextmanager
def serve_hub(dataset: str, commit: str, files: Mapping[str, bytes], token: str | None) -> Iterator[Hub]:
    """Runs a hub while the block runs."""
    hub = Hub(dataset, commit, files, token)
    server = _Server(hub)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def _hub(self) -> Hub:
        assert isinstance(self.server, _Server)
        return self.server.hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, path = self._hub, unquote(urlsplit(self.path).path)
        authorization = self.headers.get("Authorization")
        hub.tokens.append(authorization)
        repository, files = f"/api/datasets/{hub.dataset}", f"/datasets/{hub.dataset}/resolve/{hub.commit}/"
        if hub.token is not None and authorization != f"Bearer {hub.token}":
            self._refuse(f"no: {authorization}")
        elif path in (repository, f"{repository}/revision/main", f"{repository}/revision/{hub.commit}"):
            siblings = [{"rfilename": name} for name in hub.files]
            self._send_json({"id": hub.dataset, "sha": hub.commit, "siblings": siblings})
        elif path.startswith(f"{repository}/revision/"):
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif path.startswith(f"{repository}/tree/{hub.commit}"):
            self._send_json(self._entries(path.partition(f"/{hub.commit}")[2].strip("/")))
        elif path.startswith(files):
            self._send_file(path.removeprefix(files))
        else:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _refuse(self, reason: str) -> None:
        """As unkind as can be: says everywhere what was sent."""
        said = {"X-Error-Message": reason, "X-Error-Code": "RepoNotFound", "X-HF-Warning": f"topic; {reason}"}
        self._send(401, json.dumps({"error": reason}).encode(), said)

    def _entries(self, folder: str) -> list[dict[str, Any]]:
        """What lies right in a folder."""
        prefix = f"{folder}/" if folder else ""
        inside = [name.removeprefix(prefix) for name in self._hub.files if name.startswith(prefix)]
        folders = sorted({name.partition("/")[0] for name in inside if "/" in name})
        files = [self._entry(prefix + name) for name in inside if "/" not in name]
        return files + [{"type": "directory", "path": prefix + name, "size": 0, "oid": "0" * 40} for name in folders]

    def _entry(self, name: str) -> dict[str, Any]:
        content = self._hub.files[name]
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def _send_json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send_file(self, name: str) -> None:
        if name not in self._hub.files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self._hub.commit})
            return
        content = self._hub.files[name]
        headers = {"X-Repo-Commit": self._hub.commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            start, end = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            content = content[start : end + 1]
        if self.command == "GET":
            self._hub.num_bytes_sent += len(content)
        self._send(206 if asked else 200, content, headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass
