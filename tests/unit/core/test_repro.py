import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from forgeline.repro import store_is_down


@pytest.fixture(autouse=True)
def asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is kept for a run."""
    store_is_down.cache_clear()
    monkeypatch.setenv("FORGELINE_TRACKING", "on")


def test_a_server_that_does_not_answer_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    assert store_is_down()
    assert store_is_down()
    printed = capsys.readouterr().err
    assert printed.count(f"the tracking server http://127.0.0.1:{port} does not answer") == 1
    assert "Connection refused" in printed
    assert "`forgeline sync` mirrors" in printed


class Refusing(BaseHTTPRequestHandler):
    """A server behind a login, say."""

    def do_GET(self) -> None:
        self.send_error(401)

    def log_message(self, *_: object) -> None:
        pass


def test_one_that_answers_anything_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.handle_request, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_address[1]}")
        assert not store_is_down()


@pytest.mark.parametrize(("uri", "switch"), [("", "on"), ("sqlite:///x.db", "on"), ("http://127.0.0.1:9", "off")])
def test_without_a_server_to_use_nobody_is_asked(uri: str, switch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("FORGELINE_TRACKING", switch)
    assert not store_is_down()
