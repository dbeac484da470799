"""Full names of models, `{base}-{dataset}_{method}_{peft}_{quantization tag}`, from what dvc.lock says of their making.

DVC's names of stages and folders, `models/grpo` for instance, stay short and the same; a full name tells two of them
apart that other data or other methods made.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from forgeline.reporting.lineage import chain, locked_params, locked_stages_now

Locked = Mapping[str, Mapping[str, Any]]
ReadText = Callable[[str], str | None]

TRAINING = ("pretrain", "sft", "reward", "align", "reinforce")
FULL_WEIGHTS = "full"
_SEPARATORS = re.compile(r"[^A-Za-z0-9.+]+")  # `-` and `_` part the fields of a name
_MILLION, _BILLION = 1e6, 1e9


def full_name(model: str, locked: Locked, read: ReadText) -> str:
    """The full name of a model folder; `model` itself when dvc.lock does not know it.

    A model with plain weights ends with its peft. `peft` is `full` where all weights were trained.

    Args:
        model: Its folder's name under `models/`.
        locked: The stages of dvc.lock.
        read: The text of a metrics file of the same revision, None when there is none.
    """
    made_by = chain(f"models/{model}", locked)
    trainings = [stage for stage in made_by if stage.partition("@")[0] in TRAINING]
    if not trainings:
        return model
    last = max(trainings, key=lambda stage: len(_ancestors(stage, locked)))
    method, peft = _method(last, locked_params(locked[last]))
    name = f"{_base(made_by, locked, read)}-{_datasets(last, made_by, locked)}_{method}_{peft}"
    quantized = next((stage for stage in made_by if stage.startswith("quantize@")), None)
    return name if quantized is None else f"{name}_{_tag(quantized, locked, read)}"


def name_here(folder: Path) -> str:
    """The full name of a model folder of this workspace; the folder's own name where dvc.lock does not know it."""

    def read(path: str) -> str | None:
        return Path(path).read_text(encoding="utf-8") if Path(path).is_file() else None

    if folder.parent != Path("models"):
        return folder.name
    return full_name(folder.name, locked_stages_now(), read)


def name_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """For the terminal, which has no room for full names beside scores: a line for each model."""
    named = [(str(row["model"]), str(row["full_name"])) for row in rows if row.get("full_name")]
    width = max((len(model) for model, _ in named), default=0)
    return [f"{model:<{width}}  {name}" for model, name in named]


def name_rows(rows: Sequence[Mapping[str, Any]], locked: Locked, read: ReadText) -> list[dict[str, Any]]:
    """Rows of the leaderboard with `full_name` added."""
    return [{**row, "full_name": full_name(str(row["model"]), locked, read)} for row in rows]


def _ancestors(stage: str, locked: Locked) -> list[str]:
    outs = [str(out["path"]) for out in locked[stage].get("outs", [])]
    return chain(outs[0], locked) if outs else []


def _method(stage: str, params: Mapping[str, Any]) -> tuple[str, str]:
    """What trained the model last, and which of its weights."""
    name, _, key = stage.partition("@")
    section = params.get(f"{name}.{key}" if key else name, {})
    method = str(section.get("method", name))
    peft = section.get("peft", "lora" if "lora" in section else "none")
    kind = peft["kind"] if isinstance(peft, Mapping) else str(peft)
    return _word(method), FULL_WEIGHTS if kind == "none" else _word(kind)


def _base(made_by: Sequence[str], locked: Locked, read: ReadText) -> str:
    """Where the weights began: the model that training started from, else architecture and number of parameters."""
    params = locked_params(locked["pretrain"]) if "pretrain" in made_by else {}
    start = params.get("pretrain", {}).get("init_from")
    if start:
        return _word(PurePosixPath(str(start)).name)
    size = json.loads(read("metrics/pretrain.json") or "{}").get("num_parameters")
    kind = _word(str(params.get("model", {}).get("kind", "model")))
    return kind if size is None else f"{kind}.{_count(size)}"


def _datasets(last: str, made_by: Sequence[str], locked: Locked) -> str:
    """What it learned from: sets of conversations and pairs, or sources of the corpus where it saw nothing else."""
    if last == "pretrain":
        names = {stage.partition("@")[2] for stage in made_by if stage.startswith("ingest@")}
    else:
        sections = [locked_params(locked[stage]).get(stage, {}) for stage in ("instructions", "preferences")
                    if stage in made_by]  # fmt: skip
        names = {name for section in sections for name in section.get("sets", {})}
    return "+".join(sorted(map(_word, names))) or "data"


def _tag(stage: str, locked: Locked, read: ReadText) -> str:
    key = stage.partition("@")[2]
    measured = json.loads(read(f"metrics/quantize/{key}.json") or "{}")
    return str(measured.get("tag") or _word(key))


def _count(number: float) -> str:
    return f"{number / _BILLION:.1f}B" if number >= _BILLION else f"{number / _MILLION:.1f}M"


def _word(text: str) -> str:
    return _SEPARATORS.sub(".", text).strip(".")
