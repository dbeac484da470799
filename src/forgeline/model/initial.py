"""What pretraining starts from: random weights, or a model that was made here or elsewhere.

A vocabulary that was extended brings new rows of the embeddings. Each starts as the mean of the rows of the old pieces
that its text was written with before, so the model reads it at first about as it read them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, GgufConfig, PreTrainedModel, PreTrainedTokenizerBase

from forgeline.core.errors import DataError
from forgeline.core.storage import sha256_path
from forgeline.model.build import build_model
from forgeline.model.loading import is_adapter, load_model, parent_of
from forgeline.model.params import Architecture
from forgeline.tokenization.adopt import origin_fingerprint
from forgeline.tokenization.extension import Extension, read_extension
from forgeline.tokenization.fingerprint import TOKENIZER_FILE, require_fingerprint, tokenizer_fingerprint
from forgeline.tokenization.origin import Origin, find_origin

KNOB = "pretrain.init_from"


@dataclass(frozen=True)
class InitialModel:
    """A model to train.

    Attributes:
        model: In float32 on the CPU.
        sha256: Of the files that its weights came from; None for random weights.
        new_ids: Ids whose embeddings were made for it because the vocabulary was extended.
    """

    model: PreTrainedModel
    sha256: str | None
    new_ids: range


def initial_model(
    init_from: str | None, params: Architecture, tokenizer: PreTrainedTokenizerBase, tokenizer_folder: Path
) -> InitialModel:
    """The model to continue from, or a new one.

    Args:
        init_from: A folder, a .gguf file or owner/name@commit, whose tokenizer is the pipeline's or was extended to it;
            None for random weights.
        params: Architecture of a new model.
        tokenizer: Gives a new model its vocabulary size and special ids.
        tokenizer_folder: Where that tokenizer lies.

    Raises:
        ParamsError: `init_from` names nothing.
        DataError: There is no model, or it cannot be read.
        FingerprintError: Its tokenizer is neither the pipeline's nor the one that this was extended from.
    """
    if init_from is None:
        return InitialModel(build_model(params, tokenizer), None, range(0))
    origin = find_origin(init_from, KNOB)
    model = _load(origin)
    extension = _extension_from(origin, init_from, tokenizer_folder)
    new_ids = range(0)
    if extension is not None:
        extend_embeddings(model, extension)
        new_ids = range(extension.base_vocab_size, extension.base_vocab_size + len(extension.pieces))
    _require_rows(model, len(tokenizer), init_from)
    _require_numbers(model, init_from)
    for config in (model.config, model.generation_config):
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(config, name, getattr(tokenizer, name))
    return InitialModel(model, _digest(origin), new_ids)


def extend_embeddings(model: PreTrainedModel, extension: Extension) -> None:
    """Gives every new id a row in the embeddings and in the output head: the mean of its old pieces' rows.

    Rows that a model holds beyond its vocabulary, for the speed of round numbers, are used first.
    """
    first, count = extension.base_vocab_size, len(extension.pieces)
    if first + count > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(first + count, mean_resizing=False)
    inputs, head = model.get_input_embeddings().weight, model.get_output_embeddings()
    _fill(inputs, extension.pieces, first)
    if head.weight is not inputs:
        _fill(head.weight, extension.pieces, first)
    if getattr(head, "bias", None) is not None:
        _fill(head.bias, extension.pieces, first)


@torch.no_grad()
def _fill(rows: Tensor, pieces: Sequence[Sequence[int]], first: int) -> None:
    for number, ids in enumerate(pieces):
        rows[first + number] = rows[list(ids)].mean(dim=0)


def _extension_from(origin: Origin, name: str, tokenizer_folder: Path) -> Extension | None:
    """What was added to the origin's vocabulary; None when the origin's tokenizer is the pipeline's own.

    Raises:
        FingerprintError: It is neither.
    """
    mine = tokenizer_fingerprint(tokenizer_folder)
    own_file = origin.gguf_file is None and (origin.folder / TOKENIZER_FILE).is_file()
    if own_file and tokenizer_fingerprint(origin.folder) == mine:
        return None
    extension = read_extension(tokenizer_folder)
    if extension is None and own_file:
        require_fingerprint(tokenizer_fingerprint(origin.folder), name, mine, str(tokenizer_folder))
    theirs = origin_fingerprint(origin)
    if extension is not None and theirs == extension.origin:
        return extension
    require_fingerprint(theirs, name, mine, str(tokenizer_folder))
    return None


def _load(origin: Origin) -> PreTrainedModel:
    if origin.gguf_file is None:
        model = load_model(origin.folder, torch.device("cpu"))
        return model.merge_and_unload() if isinstance(model, PeftModel) else model
    try:
        # Dequantized: a model that counts as quantized could not be saved as plain weights.
        return AutoModelForCausalLM.from_pretrained(
            str(origin.folder),
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            **origin.arguments,
        )
    except (ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{KNOB}: {origin.folder / origin.gguf_file} cannot be read ({reason}): it is damaged, or of an "
            "architecture that transformers does not read from GGUF; take the model in safetensors"
        ) from error


def _require_rows(model: PreTrainedModel, vocab_size: int, name: str) -> None:
    rows = model.get_input_embeddings().num_embeddings
    if rows < vocab_size:
        raise DataError(
            f"{KNOB}: {name} has embeddings for {rows} ids, the tokenizer has {vocab_size}: its tokenizer was extended "
            "without the model; adopt the model's own tokenizer, or extend it with tokenizer.kind extend"
        )


def _require_numbers(model: PreTrainedModel, name: str) -> None:
    for weights_name, weights in model.named_parameters():
        if not torch.isfinite(weights).all():
            raise DataError(f"{KNOB}: {name} holds weights that are not numbers, in {weights_name}: take another copy")


def _digest(origin: Origin) -> str:
    """SHA-256 of a GGUF file or of a folder; of an adapter, of its parents' folders too."""
    if origin.gguf_file is not None:
        return sha256_path(origin.folder / origin.gguf_file)
    digest = sha256_path(origin.folder)
    if not is_adapter(origin.folder):
        return digest
    parent = _digest(Origin(parent_of(origin.folder), None))
    return hashlib.sha256(f"{digest} on {parent}".encode()).hexdigest()
