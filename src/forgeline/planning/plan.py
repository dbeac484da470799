"""What a run of the present params.yaml will read, make and take, before anything runs.

Sizes are those of the sources: cleaning and removing copies take some of it away, so they are upper bounds.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgeline.core.durations import read_durations
from forgeline.core.errors import DataError
from forgeline.core.params import plain, read_yaml
from forgeline.core.pipeline import PipelineStage, read_pipeline
from forgeline.core.storage import read_json
from forgeline.planning.advice import Situation, find_warnings, physical_memory
from forgeline.planning.corpus import SourceEstimate, estimate_sources
from forgeline.planning.costs import StageCost, Volume, stage_costs
from forgeline.planning.disk import copies_kept, output_bytes
from forgeline.planning.gguf_size import num_parameters_of_gguf
from forgeline.planning.model_size import num_parameters_of_folder
from forgeline.planning.vocabulary import num_entries
from forgeline.planning.work import Params, num_weights, pretraining_tokens
from forgeline.sources.fetch_params import FetchParams
from forgeline.sources.hpo_split import HpoParams
from forgeline.sources.params import SourcesParams
from forgeline.tokenization.origin import find_origin

if TYPE_CHECKING:
    from forgeline.planning.step_memory import StepMemory


@dataclass(frozen=True)
class SourcePlan:
    """A source as training will see it.

    Attributes:
        name: Of the source.
        kind: As in params.yaml.
        num_documents: None if nothing is known yet; so for bytes and tokens.
        num_bytes: UTF-8 bytes of text.
        num_tokens: By `bytes_per_token` of the plan.
        basis: How the numbers are known: counted, sampled, ...
        weight: As in params.yaml; None for all sources mixes them by size.
        natural_share: Of all known tokens.
        training_share: Of the tokens that pretraining reads, as the weights ask for.
        epochs: How often pretraining reads it; None if that is not known.
    """

    name: str
    kind: str
    num_documents: int | None
    num_bytes: int | None
    num_tokens: int | None
    basis: str
    weight: float | None
    natural_share: float
    training_share: float
    epochs: float | None


@dataclass(frozen=True)
class TrainingPlan:
    """What pretraining does with the tokens.

    Attributes:
        num_parameters: Of the model.
        tokens_per_step: Of an optimizer step.
        num_steps: Optimizer steps.
        num_tokens: Read in all steps, repetitions included.
        num_train_tokens: In the training split, at most.
        equivalent_epochs: The former by the latter; None if that is not known.
        tokens_per_parameter: About 20 is compute-optimal (Hoffmann et al. 2022).
        step_memory: Bytes of tensors in a step; None for a model that is continued, and where they depend on content.
    """

    num_parameters: int
    tokens_per_step: int
    num_steps: int
    num_tokens: int
    num_train_tokens: int
    equivalent_epochs: float | None
    tokens_per_parameter: float
    step_memory: "StepMemory | None"


@dataclass(frozen=True)
class Plan:
    """All estimates; `disk_bytes` counts the copies in DVC's cache, `memory_bytes` is the largest stage's."""

    bytes_per_token: float
    bytes_per_token_basis: str
    sources: Sequence[SourcePlan]
    training: TrainingPlan
    stages: Sequence[StageCost]
    seconds: float
    memory_bytes: float
    disk_bytes: float
    copies_kept: int
    free_disk_bytes: int
    warnings: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """The plan as builtin types."""
        return asdict(self)


def make_plan(root: Path, online: bool) -> Plan:
    """The plan for `root`/params.yaml, which must be valid.

    Args:
        root: Of the repository, as the working directory sees it: sources are looked for relative to the latter.
        online: Whether to ask servers for the sizes of files that are not here yet.
    """
    params = plain(read_yaml(root / "params.yaml"))
    ingest = SourcesParams.model_validate(params["ingest"])
    fetch = {name: FetchParams.model_validate(values) for name, values in params["fetch"].items()}
    estimates = estimate_sources(ingest, fetch, HpoParams.model_validate(params["hpo"]), online)
    bytes_per_token, basis = _bytes_per_token(root, params)
    weights = _num_weights(params)
    sources = _source_plans(ingest, estimates, params, bytes_per_token)
    training = _training_plan(params, sources, weights)
    step = training.step_memory
    stages = read_pipeline(root)
    volumes = _volumes(stages, estimates, ingest, params)
    num_tokens = sum(source.num_tokens or 0 for source in sources)
    disk = output_bytes(stages, params, volumes, weights, num_tokens)
    costs = stage_costs(
        stages, params, volumes, read_durations(root), disk, weights, step.peak if step is not None else None
    )
    copies = copies_kept(root)
    situation = Situation(
        needed_disk_bytes=copies * sum(disk.values()),
        free_disk_bytes=shutil.disk_usage(root).free,
        physical_memory_bytes=physical_memory(),
    )
    return Plan(
        bytes_per_token,
        basis,
        sources,
        training,
        costs,
        seconds=sum(cost.seconds for cost in costs),
        memory_bytes=max(cost.memory_bytes for cost in costs),
        disk_bytes=situation.needed_disk_bytes,
        copies_kept=copies,
        free_disk_bytes=situation.free_disk_bytes,
        warnings=find_warnings(params, estimates, {s.name: s.epochs for s in sources}, num_tokens, costs, situation),
    )


def _bytes_per_token(root: Path, params: Params) -> tuple[float, str]:
    """Of the tokenizer, if one with that vocabulary was made before; else the guess in params.yaml."""
    try:
        measured = read_json(root / "metrics" / "tokenizer.json")
        if measured["vocab_size"] == num_entries(params["tokenizer"]):
            return float(measured["bytes_per_token"]), "measured by the last run of stage tokenizer"
    except (DataError, KeyError, TypeError):
        pass
    return float(params["ingest"]["bytes_per_token"]), "ingest.bytes_per_token"


def _num_weights(params: Params) -> int:
    start = params["pretrain"]["init_from"]
    if start is None:
        return num_weights(params)
    origin = find_origin(start, "pretrain.init_from")
    if origin.gguf_file is not None:
        return num_parameters_of_gguf(origin.folder / origin.gguf_file)
    return num_parameters_of_folder(origin.folder)


def _source_plans(
    ingest: SourcesParams, estimates: Sequence[SourceEstimate], params: Params, bytes_per_token: float
) -> list[SourcePlan]:
    tokens = {e.name: None if e.num_bytes is None else round(e.num_bytes / bytes_per_token) for e in estimates}
    known = sum(number or 0 for number in tokens.values())
    natural = {name: (number or 0) / known if known else 0.0 for name, number in tokens.items()}
    mix = _mix({name: source.weight for name, source in ingest.sources.items()}, natural)
    read = pretraining_tokens(params)
    plans = []
    for estimate in estimates:
        name, source = estimate.name, ingest.sources[estimate.name]
        available = (tokens[name] or 0) * _train_share(params)
        plans.append(
            SourcePlan(
                name,
                source.kind,
                estimate.num_documents,
                estimate.num_bytes,
                tokens[name],
                estimate.basis,
                source.weight,
                natural[name],
                mix[name],
                epochs=read * mix[name] / available if available else None,
            )
        )
    return plans


def _mix(weights: Mapping[str, float | None], natural: Mapping[str, float]) -> dict[str, float]:
    """Share of each source in training: by its weight, or by its size where no source has one."""
    given = {name: weight or 0.0 for name, weight in weights.items()}
    total = sum(given.values())
    return {name: weight / total for name, weight in given.items()} if total else dict(natural)


def _train_share(params: Params) -> float:
    return 1.0 - float(params["curate"]["validation_fraction"]) - float(params["curate"]["test_fraction"])


def _training_plan(params: Params, sources: Sequence[SourcePlan], weights: int) -> TrainingPlan:
    read, num_steps = pretraining_tokens(params), params["pretrain"]["num_steps"]
    available = round(sum(source.num_tokens or 0 for source in sources) * _train_share(params))
    return TrainingPlan(
        num_parameters=weights,
        tokens_per_step=read // max(num_steps, 1),
        num_steps=num_steps,
        num_tokens=read,
        num_train_tokens=available,
        equivalent_epochs=read / available if available else None,
        tokens_per_parameter=read / weights,
        step_memory=_step_memory(params),
    )


def _step_memory(params: Params) -> "StepMemory | None":
    if params["pretrain"]["init_from"] is not None:
        return None
    from forgeline.planning.step_memory import pretraining_memory  # only here: torch takes seconds to import

    return pretraining_memory(params)


def _volumes(
    stages: Sequence[PipelineStage], estimates: Sequence[SourceEstimate], ingest: SourcesParams, params: Params
) -> dict[str, Volume]:
    """The text that each stage reads, by address."""
    by_source = {e.name: Volume(e.num_documents or 0, e.num_bytes or 0) for e in estimates}
    corpus = _together(list(by_source.values()))
    train, test = _train_share(params), float(params["curate"]["test_fraction"])
    shares = {"curate": 1.0, "card": 1.0, "tokenizer": train, "pack": train, "baseline": train, "holdout": test}
    volumes = {}
    for stage in stages:
        key = stage.address.partition("@")[2]
        if stage.name in ("ingest", "clean"):
            volumes[stage.address] = by_source[key]
        elif stage.name == "fetch":
            fetched = Path("data", "fetch", key)
            readers = [name for name, source in ingest.sources.items() if Path(source.path).is_relative_to(fetched)]
            volumes[stage.address] = _together([by_source[name] for name in readers])
        elif stage.name in shares:
            share = shares[stage.name]
            volumes[stage.address] = Volume(corpus.num_documents * share, corpus.num_bytes * share)
    return volumes


def _together(volumes: Sequence[Volume]) -> Volume:
    return Volume(sum(volume.num_documents for volume in volumes), sum(volume.num_bytes for volume in volumes))
