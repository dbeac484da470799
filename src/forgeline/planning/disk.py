"""How much disk the outputs of each stage take, and how often DVC keeps them."""

from collections.abc import Mapping, Sequence
from configparser import ConfigParser
from configparser import Error as ConfigError
from pathlib import Path

from forgeline.core.pipeline import PipelineStage
from forgeline.model.params import ModelParams, TransformersParams
from forgeline.planning.costs import Volume
from forgeline.planning.model_size import linear_names, num_adapter_parameters, num_linear_parameters
from forgeline.planning.vocabulary import num_entries
from forgeline.planning.work import Params
from forgeline.quantization.params import QuantizeParams
from forgeline.quantization.spec import spec_of

_PARQUET = 0.35  # of the text's bytes: zstd over prose and lists
_TOKENIZER_ENTRY_BYTES = 66  # of tokenizer.json, with its merge
_QUESTION_BYTES = 120  # of a packaged question or pair, dropped ones kept too
_REPORT_BYTES = 2e6
_SAMPLE_BYTES = 900  # of a row of samples.jsonl
_FLOAT32, _HALF = 4, 2
_ADAPTER_SHARE = 0.1  # of the linear layers, where their names are unknown: more than usual ranks hold


def output_bytes(
    stages: Sequence[PipelineStage], params: Params, volumes: Mapping[str, Volume], num_weights: int, num_tokens: float
) -> dict[str, float]:
    """Bytes of each stage's outputs, by address, without the copies in DVC's cache.

    Args:
        stages: The pipeline.
        params: All of params.yaml.
        volumes: Text that stages read, by address.
        num_weights: Of the model.
        num_tokens: Of the training and validation splits.
    """
    tokenizer = _TOKENIZER_ENTRY_BYTES * num_entries(params["tokenizer"])
    weights = _FLOAT32 * num_weights + tokenizer
    sizes = {
        "tokenizer": float(tokenizer),
        "pack": num_tokens * (2 if params["pack"]["dtype"] == "uint16" else 4),
        "pretrain": weights,
        "sft": weights if params["sft"]["peft"]["kind"] == "none" else _sft_adapter(params) + tokenizer,
        "reward": weights,
        **{f"align@{name}": _adapter(params, name) + tokenizer for name in params["align"]},
        **{f"reinforce@{name}": _adapter(params, name) + tokenizer for name in params["reinforce"]},
        "merge": weights,
        "evaluate": _SAMPLE_BYTES * 4.0 * params["instructions"]["max_test_per_task"],
        "report": _REPORT_BYTES,
    }
    found = {}
    for stage in stages:
        if stage.name == "quantize":
            found[stage.address] = quantized_bytes(params, stage.address.partition("@")[2], num_weights) + tokenizer
        elif stage.name in ("fetch", "ingest", "clean", "curate", "holdout"):
            found[stage.address] = _PARQUET * volumes[stage.address].num_bytes if stage.address in volumes else 0.0
        else:
            found[stage.address] = sizes.get(stage.address, sizes.get(stage.name, 0.0))
    return found


def copies_kept(root: Path) -> int:
    """How often the disk holds an output: in the working tree, and in DVC's cache unless the two are linked."""
    config = ConfigParser()
    for name in ("config", "config.local"):
        try:
            config.read(root / ".dvc" / name, encoding="utf-8")
        except (ConfigError, UnicodeDecodeError):
            continue  # DVC itself will say what is wrong with it
    linked = config.get("cache", "type", fallback="").strip('"').split(",")[0]
    return 1 if linked in ("hardlink", "symlink", "reflink") else 2


def _adapter(params: Params, stage: str) -> float:
    lora = (params["align"] | params["reinforce"])[stage]["lora"]
    vocab_size = params["tokenizer"]["vocab_size"]
    model = ModelParams.model_validate(params["model"]).root
    return float(_FLOAT32 * num_adapter_parameters(model, vocab_size, lora["r"], lora["target_modules"]))


def _sft_adapter(params: Params) -> float:
    """An adapter on the layers asked for; of a preset on all of them, which is more. VeRA's is small at any rank."""
    peft = params["sft"]["peft"]
    model = ModelParams.model_validate(params["model"]).root
    targets = peft["target_modules"]
    if isinstance(targets, str):
        if isinstance(model, TransformersParams):
            return _FLOAT32 * _ADAPTER_SHARE * num_linear_parameters(model, params["tokenizer"]["vocab_size"])
        targets = linear_names(model)
    rank = 1 if peft["kind"] == "vera" else peft["r"]
    return float(_FLOAT32 * num_adapter_parameters(model, params["tokenizer"]["vocab_size"], rank, targets))


def quantized_bytes(params: Params, name: str, num_weights: int) -> float:
    """Linear layers in few bits with a scale for each group or row, everything else in the type of the head."""
    spec = spec_of(QuantizeParams.model_validate(params["quantize"][name]).root, None)
    model = ModelParams.model_validate(params["model"]).root
    linear = num_linear_parameters(model, params["tokenizer"]["vocab_size"])
    head = _FLOAT32 if spec.head_dtype == "fp32" else _HALF
    zero_point = 0 if spec.symmetric else spec.bits / 8
    overhead = (
        0.0 if spec.group_size is None else (head + zero_point) / spec.group_size
    )  # of rows it is next to nothing
    return float(linear * (spec.bits / 8 + overhead) + (num_weights - linear) * head)
