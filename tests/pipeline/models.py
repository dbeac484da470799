"""Loading and running the models of a finished run with transformers and peft alone."""

from collections.abc import Sequence

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tests.clone import Clone


def plain_model(run: Clone, name: str) -> PreTrainedModel:
    """The model in models/<name>, in float32."""
    return AutoModelForCausalLM.from_pretrained(str(run.root / "models" / name), dtype=torch.float32).eval()


def adapted_model(run: Clone, name: str) -> PeftModel:
    """models/sft with the adapter in models/<name>."""
    return PeftModel.from_pretrained(plain_model(run, "sft"), str(run.root / "models" / name)).eval()


def plain_tokenizer(run: Clone, name: str) -> PreTrainedTokenizerBase:
    """The tokenizer in models/<name>."""
    return AutoTokenizer.from_pretrained(str(run.root / "models" / name))


def window(run: Clone, split: str, index: int, length: int) -> torch.Tensor:
    """Ids [1, length + 1] of a window of the packed stream."""
    stream = np.fromfile(run.root / "data" / "pack" / f"{split}.bin", dtype="<u2").astype(np.int64)
    return torch.from_numpy(stream[index * length : (index + 1) * length + 1])[None]


@torch.no_grad()
def nll(model: torch.nn.Module, ids: Sequence[int], first: int, precision: str = "fp32") -> float:
    """Nats of `ids[first:]` given what stands before them, by transformers' own loss on one unpadded sequence."""
    labels = torch.tensor([[-100] * first + list(ids[first:])])
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        loss = model(input_ids=torch.tensor([list(ids)]), labels=labels).loss
    return float(loss) * (len(ids) - max(first, 1))


def answered(
    tokenizer: PreTrainedTokenizerBase, prompt: Sequence[dict[str, str]], answer: str
) -> tuple[list[int], int]:
    """Ids of a chat written out by hand in the ChatML form, and where the answer starts."""
    asked = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in prompt)
    before = tokenizer.encode(f"{asked}<|im_start|>assistant\n", add_special_tokens=False)
    after = tokenizer.encode(f"{answer}<|im_end|>", add_special_tokens=False)
    return [*before, *after], len(before)
