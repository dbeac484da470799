"""Accelerate's launcher with the manners of a stage: one message, from the stage itself, and its exit status.

Run by `launch.py` as a program; takes the arguments of `accelerate launch`.
"""

import logging
import sys

from accelerate.commands.launch import launch_command, launch_command_parser
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from forgeline.core.process import STOPPED


def main() -> None:
    """Starts the processes, waits for them, and ends as the first one that failed."""
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # it repeats tracebacks page by page
    try:
        launch_command(launch_command_parser().parse_args())
    except ChildFailedError as failed:
        _, first = failed.get_first_failure()
        sys.exit(max(first.exitcode, 1))  # negative: killed by a signal
    except SignalException:
        sys.exit(STOPPED)


if __name__ == "__main__":
    main()
