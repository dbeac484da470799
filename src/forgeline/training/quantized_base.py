"""A base model whose weights are frozen in 4 or 8 bits, for adapters in full precision beside them."""

import importlib.util
import logging
from pathlib import Path

import torch
from peft import prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from forgeline.core.errors import ParamsError
from forgeline.training.params.peft import Int8PeftParams, QloraPeftParams

PAGED_OPTIMIZER = "paged_adamw_32bit"


def require_bitsandbytes(kind: str) -> None:
    """Refuses a kind that needs the library where it is not installed.

    Raises:
        ParamsError: It is not.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ParamsError(
            f"params.yaml: sft.peft.kind {kind} needs bitsandbytes: install it with `pip install -c constraints.txt "
            "'forgeline[quantization]'`, or choose lora"
        )


def load_quantized(
    folder: Path, device: torch.device, precision: str, params: QloraPeftParams | Int8PeftParams
) -> PreTrainedModel:
    """The model in a folder with its linear layers frozen in few bits; norms and embeddings stay in float32.

    Args:
        folder: Plain weights.
        device: Where the model goes.
        precision: `bf16` or `fp32`, in which products are taken.
        params: 4 bits (NormalFloat, quantiles of a normal distribution) or 8.

    Raises:
        ParamsError: bitsandbytes is not installed.
    """
    require_bitsandbytes(params.kind)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it would tell of a cast in every layer and step
    if isinstance(params, QloraPeftParams):
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=params.double_quantization,
            bnb_4bit_compute_dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
        )
    else:
        config = BitsAndBytesConfig(load_in_8bit=True)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        str(folder), quantization_config=config, dtype=torch.float32, device_map={"": device}, local_files_only=True
    )
    for module in model.modules():
        # On CPUs with AVX512-BF16 the first forward pass of evaluation packs the weights anew, and training after it
        # silently goes wrong.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    prepared: PreTrainedModel = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return prepared
