"""The model that fine-tuning trains: all of its weights, or frozen under an adapter of any kind."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel

from forgeline.core.storage import sha256_path
from forgeline.model.loading import is_adapter
from forgeline.training.adapters import (
    announce_share,
    continued_adapter,
    expected_parameters,
    find_targets,
    new_adapter,
    require_own_base,
)
from forgeline.training.lora import load_plain, num_parameters
from forgeline.training.params.peft import AdapterParams, Int8PeftParams, NoPeftParams, QloraPeftParams
from forgeline.training.params.sft import SftParams
from forgeline.training.quantized_base import load_quantized, require_bitsandbytes
from forgeline.training.trl.trainer import Context


@dataclass(frozen=True)
class SftModel:
    """A network ready to train, the folder it is put on, how many of its numbers are trained, and of how many."""

    network: PreTrainedModel | PeftModel
    parent: Path
    num_trainable: int
    num_parameters: int


def prepare_model(base: Path, params: SftParams, context: Context, new_ids: range) -> SftModel:
    """Loads the model in `base` and puts the adapter on that `params` asks for.

    Three ways to begin with an adapter: a new one on the base; an earlier one trained further; a new one on the base
    with an earlier one merged into it, whose folder becomes the new one's parent.

    Args:
        base: Model folder.
        params: Section `sft`.
        context: Device and scratch folder.
        new_ids: Ids that extending the vocabulary has added.

    Raises:
        DataError: An earlier adapter belongs to another base, or is of another kind.
        ParamsError: The adapter does not fit the model, or a library is missing.
    """
    peft = params.peft
    if isinstance(peft, NoPeftParams):
        model = load_plain(base, context.device)
        trainable, size = num_parameters(model)
        announce_share(trainable, size, None)
        return SftModel(model, base, trainable, size)
    parent = base
    if peft.earlier is not None:
        require_own_base(Path(peft.earlier.path), base)
        if peft.earlier.use == "merge":
            parent = Path(peft.earlier.path)
    frozen = _frozen(parent, peft, context)
    targets = find_targets(frozen, peft.target_modules)
    if peft.earlier is not None and peft.earlier.use == "continue":
        network = continued_adapter(frozen, peft, Path(peft.earlier.path))
        expected = None
    else:
        expected = expected_parameters(frozen, peft, targets, len(new_ids))
        network = new_adapter(frozen, peft, targets, new_ids, params.seed)
    trainable, size = network.get_nb_trainable_parameters()
    announce_share(trainable, size, trainable if expected is None else expected)
    return SftModel(network, parent, trainable, size)


def _frozen(parent: Path, peft: AdapterParams, context: Context) -> PreTrainedModel:
    if not isinstance(peft, QloraPeftParams | Int8PeftParams):
        return load_plain(parent, context.device)
    require_bitsandbytes(peft.kind)
    folder = parent
    if is_adapter(parent):  # quantized from whole weights only: rounding before merging would lose the adapter
        folder = context.scratch / "merged"
        load_plain(parent, context.device).save_pretrained(folder)
    return load_quantized(folder, context.device, context.compute.precision, peft)


def lineage_facts(params: SftParams) -> dict[str, Any]:
    """For the lineage: content hash of the adapter training began with, version of a library not all kinds take."""
    peft = params.peft
    facts: dict[str, Any] = {}
    if not isinstance(peft, NoPeftParams) and peft.earlier is not None:
        facts["earlier_adapter_sha256"] = sha256_path(Path(peft.earlier.path))
    if isinstance(peft, QloraPeftParams | Int8PeftParams):
        facts["optional_libraries"] = {"bitsandbytes": version("bitsandbytes")}
    return facts
