"""One thin script per DVC stage; nothing imports them.

Each runs the code of the folder it stands in. `dvc exp run --temp` and queue workers run in a copy of the repository,
where an editable install would otherwise bring in the original's `src`.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")  # stages show their own progress; libraries' bars only litter the log
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

_source = Path(__file__).resolve().parent.parent / "src"
sys.path.insert(0, str(_source))

import forgeline  # noqa: E402
from forgeline.core.process import die_with_parent, exit_on_stop_signals  # noqa: E402

if not Path(forgeline.__path__[0]).samefile(_source / "forgeline"):
    sys.exit(f"forgeline: would run the code in {forgeline.__path__[0]} instead of {_source}: unset PYTHONPATH")
die_with_parent()
exit_on_stop_signals()
