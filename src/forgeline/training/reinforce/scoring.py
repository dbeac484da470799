"""The model that judges others' answers: a reward model or a teacher, which must share the policy's tokenizer."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from forgeline.core.errors import DataError
from forgeline.core.storage import read_json
from forgeline.model.batches import batches_by_length
from forgeline.model.loading import MODEL_CONFIG, is_adapter
from forgeline.tokenization.fingerprint import require_same_tokenizer
from forgeline.training.lora import load_plain

_BATCH_TOKENS = 8192  # padded tokens of one forward pass
_CLASSIFIER = "ForSequenceClassification"


def load_teacher(path: Path, student: Path, device: torch.device) -> PreTrainedModel:
    """The teacher of a distillation, as plain weights that do not learn.

    Raises:
        DataError: The folder holds a reward model, or no model.
        FingerprintError: Teacher and student read different tokens; the message names both.
    """
    require_same_tokenizer(path, student)
    if _is_classifier(path):
        raise DataError(f"{path} is a reward model, which cannot teach to write: change scoring_model in params.yaml")
    return load_plain(path, device).requires_grad_(False)


def load_reward_model(path: Path, policy: Path, device: torch.device) -> PreTrainedModel:
    """A sequence classifier with one output.

    Raises:
        DataError: The folder holds another kind of model.
        FingerprintError: Reward model and policy read different tokens; the message names both.
    """
    require_same_tokenizer(path, policy)
    if not _is_classifier(path):
        raise DataError(f"{path} is no reward model: change scoring_model in params.yaml, or reward_weights.model to 0")
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
        str(path), dtype=torch.float32, local_files_only=True
    )
    return model.to(device).eval()


@torch.no_grad()
def score(model: PreTrainedModel, sequences: Sequence[tuple[int, ...]]) -> list[float]:
    """The reward of each prompt with its answer; equal ones are read once, so they score the same."""
    different = list(dict.fromkeys(sequences))
    found: dict[tuple[int, ...], float] = {}
    pad = model.config.pad_token_id
    for rows in batches_by_length([len(sequence) for sequence in different], _BATCH_TOKENS):
        batch = [different[row] for row in rows]
        longest = len(batch[0])
        ids = torch.tensor([[*ids, *[pad] * (longest - len(ids))] for ids in batch], device=model.device)
        # The mask says where a sequence ends; pads inside, which a sampled answer may hold, stay open.
        lengths = torch.tensor([len(ids) for ids in batch], device=model.device)
        mask = (torch.arange(longest, device=model.device) < lengths[:, None]).long()
        scores = model(input_ids=ids, attention_mask=mask).logits.squeeze(-1)
        found |= dict(zip(batch, scores.double().tolist(), strict=True))
    return [found[sequence] for sequence in sequences]


def _is_classifier(path: Path) -> bool:
    if is_adapter(path) or not (path / MODEL_CONFIG).is_file():
        return False
    names = read_json(path / MODEL_CONFIG).get("architectures") or [""]
    return bool(names[0].endswith(_CLASSIFIER))
