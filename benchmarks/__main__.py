"""`python -m benchmarks NAME` runs one benchmark, `--list` names them; the last line printed is one JSON object."""

import argparse
import importlib
from pathlib import Path

NAMES = sorted(
    path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in ("__init__", "__main__", "harness")
)


def main() -> None:
    """Parses the command line and runs the benchmark it names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=NAMES)
    parser.add_argument("--list", action="store_true", help="name all benchmarks with a line each")
    arguments = parser.parse_args()
    if arguments.list or arguments.name is None:
        for name in NAMES:
            print((importlib.import_module(f"benchmarks.{name}").__doc__ or name).splitlines()[0])
        return
    print(importlib.import_module(f"benchmarks.{arguments.name}").run().as_json())


if __name__ == "__main__":
    main()
