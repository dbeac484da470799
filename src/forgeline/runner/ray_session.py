"""A connection to Ray for the life of this process: to a cluster, else to a Ray of its own that leaves nothing behind.

Ray takes over signal handlers and the hook for uncaught errors; here both keep what the stage had set.
"""

import atexit
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from forgeline.core.errors import ForgelineError, ParamsError, StopRequested
from forgeline.core.process import STOP_SIGNALS

ADDRESS_VARIABLE = "RAY_ADDRESS"
_SECONDS_TO_ANSWER = 10
_SECONDS_TO_END = 30


@cache
def connected_ray() -> Any:
    """The module `ray` (with `ray.data`), connected once for the process.

    Raises:
        ParamsError: Ray is not installed, or no cluster answers at `RAY_ADDRESS`.
        ForgelineError: Ray cannot be started on this machine.
        StopRequested: SIGTERM arrived while Ray was connecting.
    """
    if find_spec("ray") is None:
        raise ParamsError("the Ray runner needs Ray: run `pip install 'forgeline[ray]'`")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    address = os.environ.get(ADDRESS_VARIABLE, "")
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        ray = _start() if address in ("", "local") else _join(address)
    except SystemExit as stop:  # so ends Ray's own handler of SIGTERM
        raise StopRequested("stopped by SIGTERM") from stop
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return ray


def _join(address: str) -> Any:
    """Connects to a cluster. Workers get this checkout's code by its path, which is the same on every node."""
    ray = _imported_ray()
    try:
        _require_listener(address)
        ray.init(
            address=address,
            runtime_env={"env_vars": {"PYTHONPATH": _python_path()}},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ParamsError(
            f"{ADDRESS_VARIABLE} is '{address}' and Ray cannot be used there ({error}): name host:port of a cluster's "
            "head, on a node of that cluster, or unset it to run on this machine alone"
        ) from error
    return ray


def _require_listener(address: str) -> None:
    """Raises at once if nobody listens at `host:port`; Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "://" not in address:
        socket.create_connection((host, int(port)), _SECONDS_TO_ANSWER).close()
    elif address != "auto":
        raise ValueError("this is neither host:port nor auto")


def _start() -> Any:
    """Starts a Ray on this machine and connects to it; it ends with this process, however that ends."""
    os.environ["RAY_AUTH_MODE"] = "token"  # else whoever can reach this machine could run code as this user
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    keeper = subprocess.Popen(
        [sys.executable, "-m", "forgeline.runner.ray_keeper"],
        env={**os.environ, "PYTHONPATH": _python_path()},
        stdin=subprocess.PIPE,  # its end tells the keeper that this process is gone
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a signal to our process group reaches us alone, and we end Ray in good order
        text=True,
    )
    atexit.register(_end, keeper)
    _imported_ray()  # takes seconds, while the keeper starts
    assert keeper.stdout is not None
    address = keeper.stdout.readline().strip()
    if not address:
        said = keeper.communicate()[1].strip().splitlines() or ["it does not say why"]
        raise ForgelineError(f"Ray cannot be started on this machine ({said[-1]}): use FORGELINE_RUNNER=local")
    return _join(address)


def _end(keeper: "subprocess.Popen[str]") -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the process is ending already
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()
    assert keeper.stdin is not None
    keeper.stdin.close()
    keeper.wait(_SECONDS_TO_END)


def _imported_ray() -> Any:
    show_error = sys.excepthook
    import ray
    import ray.data

    sys.excepthook = show_error  # Ray's would first tell the cluster, and wait for ever for one that is gone
    return ray


def _python_path() -> str:
    """This checkout's code first."""
    folder = Path.cwd()
    return os.pathsep.join([str(folder / "src"), str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
