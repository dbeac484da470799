"""Time, memory and disk of each stage: measured here where the stage has run before, else from typical rates.

The typical rates are those of the default run on 2 cores of an AMD EPYC without a GPU (docs/lab-notebook.md has the
runs). They are right within a factor of two for models of a few million weights on such a machine; a measured stage is
scaled by its work alone, which is closer.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forgeline.core.durations import Duration
from forgeline.core.pipeline import PipelineStage
from forgeline.model.params import ModelParams
from forgeline.planning.model_size import dimensions
from forgeline.planning.vocabulary import num_entries
from forgeline.planning.work import Params, num_weights, operations
from forgeline.runner.tasks import num_workers

OPERATIONS_PER_SECOND = 1.1e11  # pretraining reads 7,200 tokens a second with 2.56 million weights: 6 x both
_WEIGHT_BYTES = 4


@dataclass(frozen=True)
class Typical:
    """What a kind of stage costs, beside the operations of a model.

    Attributes:
        start_seconds: Interpreter, libraries, DVC, and work that hardly grows.
        bytes_per_second: Of text; None where the text does not decide the time.
        is_parallel: Whether that is the rate of one worker, of as many as this machine has.
        memory_bytes: Resident, of the libraries and of work that hardly grows.
        copies_of_text: How often all of its text is in memory at once.
        worker_bytes: Resident in each worker, beside its shard.
        shards_per_worker: How often a shard's text is in memory for each worker.
        copies_of_logits: Float32 arrays of (tokens of a forward pass, vocabulary) that are held at once.
        bytes_per_weight: Weights, gradients and optimizer state.
    """

    start_seconds: float
    bytes_per_second: float | None = None
    is_parallel: bool = False
    memory_bytes: float = 160e6
    copies_of_text: float = 0.0
    worker_bytes: float = 0.0
    shards_per_worker: float = 0.0
    copies_of_logits: float = 0.0
    bytes_per_weight: float = 0.0


TYPICAL = {
    "fetch": Typical(2, 20e6),
    "ingest": Typical(2, 40e6, is_parallel=True, memory_bytes=130e6, worker_bytes=60e6, shards_per_worker=3.5),
    "clean": Typical(3, 18e6, is_parallel=True, memory_bytes=300e6, worker_bytes=130e6, shards_per_worker=6),
    "instructions": Typical(4.5, memory_bytes=240e6),
    "preferences": Typical(2.5),
    "curate": Typical(3, 60e6, is_parallel=True, memory_bytes=260e6, worker_bytes=100e6, shards_per_worker=3),
    "card": Typical(1),
    "tokenizer": Typical(2.5, 2.5e6, memory_bytes=380e6, copies_of_text=10),
    "pack": Typical(3.5, 3e6, memory_bytes=400e6),
    "holdout": Typical(1.5, memory_bytes=250e6),
    "contamination": Typical(2.5, memory_bytes=400e6),
    "baseline": Typical(3.5, 10e6, memory_bytes=380e6, copies_of_text=6),
    "pretrain": Typical(7, memory_bytes=420e6, copies_of_logits=4, bytes_per_weight=16),
    "sft": Typical(8, memory_bytes=900e6, copies_of_logits=8, bytes_per_weight=16),
    "reward": Typical(8, memory_bytes=900e6, copies_of_logits=3, bytes_per_weight=16),
    "align": Typical(10, memory_bytes=900e6, copies_of_logits=20, bytes_per_weight=16),
    "reinforce": Typical(10, memory_bytes=900e6, copies_of_logits=5, bytes_per_weight=18),
    "merge": Typical(7, memory_bytes=480e6, bytes_per_weight=12),
    "quantize": Typical(10, memory_bytes=700e6, bytes_per_weight=12),
    "evaluate": Typical(7, memory_bytes=600e6, copies_of_logits=2, bytes_per_weight=8),
    "benchmark": Typical(7, memory_bytes=600e6, bytes_per_weight=8),
    "report": Typical(2.5),
    "register": Typical(5, memory_bytes=300e6),
}
_UNKNOWN_STAGE = Typical(5)
_LEARNING = ("pretrain", "sft", "reward", "align", "reinforce")  # they keep activations for a backward pass


@dataclass(frozen=True)
class Volume:
    """Text that a stage reads."""

    num_documents: float
    num_bytes: float


@dataclass(frozen=True)
class StageCost:
    """What a stage will take.

    Attributes:
        stage: Its address.
        seconds: Wall time.
        memory_bytes: Largest resident set.
        disk_bytes: Of its outputs, once.
        basis: `measured here` if an earlier run of it on this machine was scaled, else `typical`.
    """

    stage: str
    seconds: float
    memory_bytes: float
    disk_bytes: float
    basis: str


def stage_costs(
    stages: Sequence[PipelineStage],
    params: Params,
    volumes: Mapping[str, Volume],
    durations: Mapping[str, Duration],
    disk: Mapping[str, float],
    weights: int,
    step_bytes: int | None,
) -> list[StageCost]:
    """The costs of all stages in their order.

    Args:
        stages: The pipeline.
        params: All of params.yaml.
        volumes: What each stage reads, by address; stages that read no documents are left out.
        durations: Earlier runs on this machine, by address.
        disk: Bytes of each stage's outputs, by address.
        weights: Parameters of the model.
        step_bytes: Tensors of a step of pretraining, where that is known.
    """
    costs = []
    for stage in stages:
        volume = volumes.get(stage.address, Volume(0, 0))
        seconds, memory, basis = _typical(stage, params, volume, weights)
        if stage.name == "pretrain" and step_bytes is not None:
            memory = _kind(stage.address).memory_bytes + step_bytes
        earlier = durations.get(stage.address)
        scale = _scale(stage.address, params, volume, weights, earlier) if earlier else None
        if earlier and scale is not None:
            start = min(_kind(stage.address).start_seconds, earlier.seconds)
            seconds = start + (earlier.seconds - start) * scale
            memory = earlier.peak_memory_bytes if scale <= 1 else max(memory, earlier.peak_memory_bytes)
            basis = "measured here"
        costs.append(StageCost(stage.address, seconds, memory, disk.get(stage.address, 0.0), basis))
    return costs


def _kind(address: str) -> Typical:
    return TYPICAL.get(address) or TYPICAL.get(address.partition("@")[0]) or _UNKNOWN_STAGE


def _typical(stage: PipelineStage, params: Params, volume: Volume, weights: int) -> tuple[float, float, str]:
    kind = _kind(stage.address)
    seconds = kind.start_seconds + operations(stage.address, params, weights) / OPERATIONS_PER_SECOND
    if kind.bytes_per_second:
        seconds += volume.num_bytes / (kind.bytes_per_second * (num_workers() if kind.is_parallel else 1))
    shard = min(params["ingest"]["shard_megabytes"] * 1e6, volume.num_bytes)
    memory = kind.memory_bytes + kind.copies_of_text * volume.num_bytes
    at_once = min(num_workers(), max(1, math.ceil(volume.num_bytes / max(shard, 1))))
    memory += at_once * (kind.worker_bytes + kind.shards_per_worker * shard)
    memory += kind.bytes_per_weight * weights + _activations(stage, params, kind)
    if stage.name == "curate":
        memory += params["curate"].get("memory_megabytes", 0) * 1e6 * min(volume.num_bytes / 1e9, 1.0)
    return seconds, memory, "typical"


def _activations(stage: PipelineStage, params: Params, kind: Typical) -> float:
    """Bytes of logits and of what each layer keeps for the backward pass, in float32."""
    tokens = _tokens_of_a_pass(stage, params)
    hidden, inner, num_layers = dimensions(
        ModelParams.model_validate(params["model"]).root, num_entries(params["tokenizer"])
    )
    kept = num_layers * (10 * hidden + 3 * inner) if stage.name in _LEARNING else 0
    return float(tokens * _WEIGHT_BYTES * (kept + kind.copies_of_logits * num_entries(params["tokenizer"])))


def _tokens_of_a_pass(stage: PipelineStage, params: Params) -> int:
    """Tokens of the largest forward pass."""
    match stage.address.partition("@"):
        case ("pretrain", _, _):
            return int(params["pretrain"]["micro_batch_size"] * params["pack"]["sequence_length"])
        case ("reinforce", _, name):
            section = params["reinforce"][name]
            return int(section["minibatch_size"] * 2 * section["max_new_tokens"])
        case ("evaluate", _, _):
            return int(params["evaluate"]["scoring"]["batch_tokens"])
        case ("sft", _, _):
            return int(params["sft"]["micro_batch_size"] * params["sft"]["max_length"])
        case ("reward", _, _):
            return int(2 * params["reward"]["micro_batch_size"] * params["reward"]["max_length"])
        case ("align", _, _):
            section = params["align"][stage.address.partition("@")[2]]
            return int(2 * section["micro_batch_size"] * section["max_length"])
    return 0


def _scale(address: str, params: Params, volume: Volume, weights: int, earlier: Duration) -> float | None:
    """Work now relative to the earlier run; None when they cannot be compared, after a change of the schema say."""
    try:
        before = operations(address, earlier.params, num_weights(earlier.params))
        records: Any = earlier.summary["records"]["in"]
    except (KeyError, TypeError, ValueError):
        return None
    now = operations(address, params, weights)
    if before and now:
        return now / before
    if volume.num_documents and _kind(address).bytes_per_second:
        return volume.num_documents / records if records else None
    return 1.0
