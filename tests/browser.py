"""Headless Chromium for tests, driven over a pair of pipes with the DevTools protocol: no driver, no port, no network.

https://chromedevtools.github.io/devtools-protocol: messages are JSON, each ended by a zero byte; the browser reads them
from file descriptor 3 and writes to 4.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CANDIDATES = ("chromium", "chromium-browser", "google-chrome", "chrome")
NO_BROWSER = f"no browser: install one of {', '.join(CANDIDATES)}, or name one in CHROMIUM"
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no name resolves: what the page fetched would fail and be seen
)  # fmt: skip


def find_browser() -> str | None:
    """The browser that CHROMIUM names, else the first one installed."""
    named = os.environ.get("CHROMIUM")
    return next((path for name in ([named] if named else CANDIDATES) if (path := shutil.which(name))), None)


@dataclass
class Tab:
    """An open page.

    Attributes:
        problems: Exceptions, console errors and failed requests since it was opened.
        requests: Addresses that it asked for.
    """

    _read: int
    _write: int
    _session: str = ""
    _number: int = 0
    _buffer: bytes = b""
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def send(self, method: str, timeout: float = 30, **params: Any) -> Any:
        """One command of the protocol and its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer)

    def _next(self, deadline: float) -> Any:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(deadline - time.monotonic(), 0))
            part = os.read(self._read, 1 << 20) if ready else b""
            assert part, "the browser ended or does not answer"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.problems.append(json.dumps(params["args"])[:500])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def attach(self) -> None:
        """Opens an empty page and listens to it."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def open(self, page: Path, ready: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Shows a file and waits until the expression `ready` is true."""
        self.problems, self.requests = [], []
        mobile = width < 600
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=scheme)
        self.send("Page.navigate", url=page.resolve().as_uri())
        self.wait(f"document.readyState === 'complete' && {ready}")

    def wait(self, expression: str, timeout: float = 30) -> None:
        """Until the expression is true."""
        deadline = time.monotonic() + timeout
        while not self.run(f"Boolean({expression})"):
            assert time.monotonic() < deadline, f"never true: {expression}; {self.problems}"
            time.sleep(0.05)

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        done = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def press(self, key: str) -> None:
        """A key of the keyboard, on what has the focus."""
        text = {"Enter": "\r", "Space": " "}[key]
        code = {"Enter": 13, "Space": 32}[key]
        common = {"key": text if key == "Space" else key, "code": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self, target: Path, whole: bool = True) -> None:
        """Writes a PNG of the whole page, or of what the window shows."""
        shot = self.send("Page.captureScreenshot", timeout=120, captureBeyondViewport=whole)
        target.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def open_browser(binary: str, profile: Path) -> Iterator[Tab]:
    """Starts the browser with an empty profile and ends it afterwards."""
    to_browser, ours = os.pipe()
    from_browser, theirs = os.pipe()
    # The shell puts the pipes where the browser looks for them: what else is open here may have those numbers.
    script = f'exec "$0" "$@" 3<&{to_browser} 4>&{theirs}'
    command = ["bash", "-c", script, binary, *_FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        command, pass_fds=(to_browser, theirs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(to_browser)
    os.close(theirs)
    try:
        tab = Tab(from_browser, ours)
        tab.attach()
        yield tab
    finally:
        process.terminate()
        process.wait(timeout=20)
        os.close(ours)
        os.close(from_browser)
