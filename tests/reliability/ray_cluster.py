"""A Ray cluster of two nodes with one CPU each, on this machine."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forgeline.runner.ray_keeper import descendants
from tests.reliability.copies import wait_until

_RAY = str(Path(sys.executable).parent / "ray")
_OBJECT_STORE_BYTES = 100_000_000
_SECONDS_TO_START = 90


@dataclass(frozen=True)
class Cluster:
    """A running cluster: the environment of who uses it, and the process of each node."""

    environment: dict[str, str]
    nodes: "list[subprocess.Popen[bytes]]"

    def working(self) -> dict[int, str]:
        """Process id and title of the workers that are at a task of ours."""
        found = {}
        for pid in set().union(*(descendants(node.pid) for node in self.nodes)):
            with contextlib.suppress(OSError):
                found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()
        return {pid: title for pid, title in found.items() if title.startswith("ray::Map")}


@contextlib.contextmanager
def cluster_of_two_nodes() -> Iterator[Cluster]:
    """Starts the nodes as `ray start` does on two machines."""
    address = f"127.0.0.1:{_free_port()}"
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # paths of sockets must be short
    environment = {
        "RAY_ADDRESS": address,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    log = Path(folder) / "start.log"
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        host, _, port = address.partition(":")
        head = ["--head", f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false"]
        for options in (head, [f"--address={address}"]):
            nodes.append(_start_node([*options, f"--node-ip-address={host}"], environment, log))
            assert wait_until(lambda: log.read_text().count("Ray runtime started") == len(nodes), _SECONDS_TO_START)
        yield Cluster(environment, nodes)
    finally:
        for node in nodes:
            for pid in (node.pid, *descendants(node.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            node.wait()
        shutil.rmtree(folder)


def _start_node(options: list[str], environment: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    fixed = [
        "--num-cpus=1",
        f"--object-store-memory={_OBJECT_STORE_BYTES}",
        "--min-worker-port=0",
        "--max-worker-port=0",
    ]
    with log.open("ab") as output:
        return subprocess.Popen(
            [_RAY, "start", "--block", *options, *fixed],
            cwd="/",  # workers start there, not in the folder of who uses the cluster
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
