"""`python -m benchmarks NAME` runs one benchmark, `--list` names them; the last line printed is one JSON object."""

import argparse
import importlib
from pathlib import Path

from benchmarks.harness import Options

# Modules beside the benchmarks that are none.
_SUPPORT = ("__init__", "__main__", "corpus", "harness", "models", "questions", "report_inputs", "workspace")
NAMES = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in _SUPPORT)


def main() -> None:
    """Parses the command line and runs the benchmark it names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=NAMES)
    parser.add_argument("--list", action="store_true", help="name all benchmarks with a line each")
    parser.add_argument("--size", type=float, metavar="MB", help="millions of bytes of text to measure on")
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="measure on the docs-*.jsonl and labels.json in DIR")
    arguments = parser.parse_args()
    if arguments.list or arguments.name is None:
        for name in NAMES:
            print((importlib.import_module(f"benchmarks.{name}").__doc__ or name).splitlines()[0])
        return
    options = Options(arguments.size, arguments.corpus)
    print(importlib.import_module(f"benchmarks.{arguments.name}").run(options).as_json())


if __name__ == "__main__":
    main()
