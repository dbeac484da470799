"""Reading and writing model folders: plain weights, quantized weights, or an adapter that names its parent."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

import forgeline.model.decoder  # noqa: F401  # makes the library know our decoder
from forgeline.core.errors import DataError
from forgeline.core.storage import read_json, write_json

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
MODEL_CONFIG = "config.json"
CLASSIFICATION = "SEQ_CLS"  # PEFT's word for sequence classification
HEAD = "score"  # what transformers calls the head of a decoder's sequence classifier


def is_adapter(path: Path) -> bool:
    """Whether the folder holds an adapter rather than whole weights."""
    return (path / ADAPTER_CONFIG).is_file()


def parent_of(path: Path) -> Path:
    """The model folder that an adapter folder was trained on, relative to the repository root."""
    return Path(read_json(path / ADAPTER_CONFIG)["base_model_name_or_path"])


def load_model(path: Path, device: torch.device, *, trainable_adapter: bool = False) -> PreTrainedModel | PeftModel:
    """The model in a folder, in float32 and evaluation mode.

    An adapter is put on its parent, which is loaded the same way; adapters further up the chain are merged into the
    weights in memory, because PEFT trains and disables one adapter at a time. A folder of a sequence classifier (a
    reward model) gives one, be it weights or an adapter on a causal model.

    Args:
        path: Folder with weights or with an adapter.
        device: Where the model goes.
        trainable_adapter: Whether the folder's own adapter keeps its gradients on.

    Raises:
        DataError: The folder is not a model, lacks weights, is corrupt, or holds weights that are not numbers.
    """
    if is_adapter(path):
        parent = load_model(parent_of(path), device)
        if isinstance(parent, PeftModel):
            parent = parent.merge_and_unload()
        if read_json(path / ADAPTER_CONFIG).get("task_type") == CLASSIFICATION:
            parent = as_classifier(parent, _num_labels(path))
        with _readable(path):
            model = PeftModel.from_pretrained(parent, str(path), is_trainable=trainable_adapter)
            with safe_open(path / ADAPTER_WEIGHTS, framework="pt") as weights:
                stored = set(weights.keys())
        adapter = get_peft_model_state_dict(model, save_embedding_layers=False)
        _require_all(path, set(adapter) - stored)
        _require_finite(path, adapter)
        return model.to(device).train(trainable_adapter)
    if not (path / MODEL_CONFIG).is_file():
        raise DataError(f"{path} is not a model folder (no {MODEL_CONFIG} or {ADAPTER_CONFIG}): run `dvc repro`")
    with _readable(path):
        model, info = _auto_class(path).from_pretrained(
            str(path), dtype=torch.float32, output_loading_info=True, local_files_only=True
        )
    _require_all(path, info["missing_keys"])
    _require_finite(path, dict(model.named_parameters()))
    return model.to(device).eval()


def as_classifier(model: PreTrainedModel, num_labels: int) -> PreTrainedModel:
    """A sequence classifier on the body of a causal model, with a new head; a classifier is given back as it is."""
    if hasattr(model, HEAD):
        return model
    config = copy.deepcopy(model.config)
    config.num_labels = num_labels
    classifier: PreTrainedModel = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    setattr(classifier, classifier.base_model_prefix, model.base_model)
    return classifier.to(model.device).eval()


def _auto_class(path: Path) -> Any:
    architectures = read_json(path / MODEL_CONFIG).get("architectures") or [""]
    return AutoModelForSequenceClassification if "Classification" in architectures[0] else AutoModelForCausalLM


def _num_labels(path: Path) -> int:
    """Of the classifier whose adapter lies in a folder, by the size of its head.

    Raises:
        DataError: There is no head.
    """
    with _readable(path), safe_open(path / ADAPTER_WEIGHTS, framework="pt") as weights:
        for name in weights.keys():  # noqa: SIM118  # not a mapping
            if name.endswith(f".{HEAD}.weight"):
                return int(weights.get_slice(name).get_shape()[0])
    raise DataError(
        f"{path} is the adapter of a classifier but holds no weights of its head '{HEAD}': train it with "
        f"modules_to_save: [{HEAD}]"
    )


def _require_all(path: Path, missing: set[str]) -> None:
    if missing:
        names = ", ".join(sorted(missing)[:5])
        raise DataError(f"{path} lacks the weights {names}: delete the folder and run `dvc repro`")


def _require_finite(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Refuses NaN and infinity, which would otherwise show only as useless scores."""
    for name, parameter in weights.items():
        # A library's own quantized tensor knows few operations, but what it stands for is a plain one.
        tensor = parameter if type(parameter.data) is torch.Tensor else parameter.data.dequantize()
        # A sum takes no memory; only one that is not finite, from overflow perhaps, needs the closer look.
        if tensor.is_floating_point() and not tensor.sum().isfinite() and not tensor.isfinite().all():
            raise DataError(
                f"{path}: the weights {name} hold NaN or infinity: the file is damaged or its training diverged; "
                "delete the folder and run `dvc repro`, with a lower learning rate if it did"
            )


def save_model_files(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, target: Path) -> None:
    """Writes the weights, or only the adapter of a PEFT model, with configuration and tokenizer.

    The bytes depend on the content alone: PEFT's configuration, whose `target_modules` is a set, is written again with
    everything sorted, and files that hold nothing of the model (PEFT's README) are left out.
    """
    target.mkdir(parents=True, exist_ok=True)
    if isinstance(model, PeftModel):
        # Embeddings belong to the parent. Left to guess, PEFT asks the Hub about parents that are adapters themselves.
        model.save_pretrained(target, save_embedding_layers=False)
    else:
        model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    (target / "README.md").unlink(missing_ok=True)
    config = target / ADAPTER_CONFIG
    if config.is_file():
        values = json.loads(config.read_text(encoding="utf-8"))
        for key in ("target_modules", "modules_to_save"):
            if isinstance(values.get(key), list):
                values[key] = sorted(values[key])
        write_json(config, values)


class _readable:
    """Turns the ways in which a damaged model file fails to load into one error."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        missing = isinstance(error, OSError) and error.errno is None  # transformers' own words for a file it lacks
        if missing or isinstance(error, SafetensorError | ValueError | RuntimeError):
            raise DataError(
                f"{self.path} cannot be loaded ({error}): the files are damaged or of another architecture; "
                "delete the folder and run `dvc repro` (or `dvc checkout` to take it from the cache)"
            ) from error
