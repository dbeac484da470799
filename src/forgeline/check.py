"""The whole of params.yaml held against every section's model, and the rules that cross sections.

Imports no torch, so that a wrong value is reported in under a second, before anything runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from forgeline.core.errors import ParamsError
from forgeline.core.params import PARAMS_FILE, plain, read_yaml, validate
from forgeline.evaluation.benchmark_params import BenchmarkParams
from forgeline.evaluation.contamination import ContaminationParams
from forgeline.evaluation.ngram import BaselineParams
from forgeline.evaluation.params import BUILT_IN_TASKS, EvaluateParams
from forgeline.evaluation.task_files.definition import unreadable_definitions
from forgeline.model.merge_params import MergeParams
from forgeline.model.params import ComputeParams, DecoderParams, LlamaParams, ModelParams, TransformersParams
from forgeline.packing.params import PackParams
from forgeline.planning.model_size import linear_names
from forgeline.planning.vocabulary import num_entries
from forgeline.quantization.params import QuantizeParams
from forgeline.reporting.params import ReportParams
from forgeline.sources.fetch_params import NAME, FetchParams
from forgeline.sources.hpo_split import HpoParams
from forgeline.sources.instruction_params import InstructionParams
from forgeline.sources.params import SourcesParams
from forgeline.sources.preferences import PreferenceParams
from forgeline.text.card import CardParams
from forgeline.text.clean_params import CleanParams
from forgeline.text.curate import CurateParams
from forgeline.text.holdout import HoldoutParams
from forgeline.tokenization.params import TokenizerParams
from forgeline.tracking.params import RegisterParams
from forgeline.training.params.align import AlignParams
from forgeline.training.params.pretrain import PretrainParams
from forgeline.training.params.reinforce import ReinforceParams
from forgeline.training.params.reward import RewardParams
from forgeline.training.params.sft import SftParams

SECTIONS: dict[str, type[BaseModel]] = {
    "compute": ComputeParams,
    "hpo": HpoParams,
    "ingest": SourcesParams,
    "clean": CleanParams,
    "instructions": InstructionParams,
    "curate": CurateParams,
    "card": CardParams,
    "tokenizer": TokenizerParams,
    "model": ModelParams,
    "pack": PackParams,
    "holdout": HoldoutParams,
    "contamination": ContaminationParams,
    "baseline": BaselineParams,
    "pretrain": PretrainParams,
    "sft": SftParams,
    "preferences": PreferenceParams,
    "reward": RewardParams,
    "merge": MergeParams,
    "evaluate": EvaluateParams,
    "benchmark": BenchmarkParams,
    "report": ReportParams,
    "register": RegisterParams,
}
# Sections that map names of the user's choice to entries of one kind.
COLLECTIONS: dict[str, type[BaseModel]] = {
    "fetch": FetchParams,
    "align": AlignParams,
    "reinforce": ReinforceParams,
    "quantize": QuantizeParams,
}
MAY_BE_EMPTY = ("fetch",)
TASK_FILES = Path("tasks")  # where dvc.yaml has stages look for definitions of tasks
FETCHED = "data/fetch/"  # where dvc.yaml puts fetched data
# Model folders that dvc.yaml makes whatever params.yaml says; `merge.models` and the entries of `quantize` add theirs.
MODELS = ("base", "sft")


@dataclass(frozen=True)
class _Document:
    path: Path
    nodes: Any  # as ruamel read it, with line numbers
    values: dict[str, Any]


def check(path: Path = PARAMS_FILE) -> int:
    """Validates the file and returns how many sections it has.

    Raises:
        ParamsError: One line for every problem: file, line, key, value, what was expected.
    """
    nodes = read_yaml(path)
    values = plain(nodes)
    if not isinstance(values, dict):
        raise ParamsError(f"{path}: holds no sections: restore it with `forgeline preset default`")
    document = _Document(path, nodes, values)
    problems = _sources_in_short_form(document)
    if problems:
        raise ParamsError("\n".join(problems))
    problems = _unknown_sections(document)
    for section, model in _expected(values).items():
        problems += _problems_of(document, section, model)
    if not problems:
        problems = _contradictions(document)
    if problems:
        raise ParamsError("\n".join(problems))
    return len(values)


def _expected(values: dict[str, Any]) -> dict[str, type[BaseModel]]:
    expected: dict[str, type[BaseModel]] = dict(SECTIONS)
    for name, model in COLLECTIONS.items():
        expected |= {f"{name}.{key}": model for key in _mapping(values, name)}
    return expected


def _unknown_sections(document: _Document) -> list[str]:
    known = {name.partition(".")[0] for name in SECTIONS} | set(COLLECTIONS)
    problems = [
        f"{document.path}: unknown section '{name}': remove it" for name in document.values if name not in known
    ]
    problems += [
        f"{document.path}: section '{name}' is missing or empty: copy it from presets/default.yaml"
        for name in COLLECTIONS
        if not _mapping(document.values, name) and (name not in MAY_BE_EMPTY or document.values.get(name) != {})
    ]
    return problems + [
        f"{document.path}: {section}.{name}: use letters, digits, _ and -, beginning with a letter or digit"
        for section in ("fetch", "align")
        for name in _mapping(document.values, section)
        if not NAME.fullmatch(name)
    ]


def _sources_in_short_form(document: _Document) -> list[str]:
    """Texts where entries are expected: `name: "dataset | subset | split | weight"`, or a list of such."""
    problems = []
    for section, parent in (("ingest.sources", _mapping(document.values, "ingest")), ("fetch", document.values)):
        key = section.rpartition(".")[2]
        entries = parent.get(key)
        pairs = [("NAME", entry) for entry in entries] if isinstance(entries, list) else _mapping(parent, key).items()
        problems += [
            f"{document.path}: {section}.{name} is a text, but sources are written out there: remove it and run "
            f'`forgeline source add {name} "dataset | subset | split | weight"`, which adds all that it stands for'
            for name, entry in pairs
            if isinstance(entry, str)
        ]
    return problems


def _mapping(values: dict[str, Any], name: str) -> dict[str, Any]:
    """The section if it is one; a number or text in its place is reported as a missing section."""
    section = values.get(name)
    return section if isinstance(section, dict) else {}


def _problems_of(document: _Document, section: str, model: type[BaseModel]) -> list[str]:
    node: Any = document.values
    for part in section.split("."):
        if not isinstance(node, dict) or part not in node:
            return [f"{document.path}: section '{section}' is missing: copy it from presets/default.yaml"]
        node = node[part]
    try:
        validate(node, model, section, document.path, document.nodes)
    except ParamsError as error:
        return str(error).splitlines()
    return []


def _nothing_to_read(document: _Document) -> list[str]:
    """Sources of fetched data that nothing fetches."""
    problems = []
    for name, source in document.values["ingest"]["sources"].items():
        path = source["path"]
        fetched = path.removeprefix(FETCHED).partition("/")[0]
        if path.startswith(FETCHED) and fetched not in document.values["fetch"]:
            problems.append(
                f"{document.path}: ingest.sources.{name} reads {path}, but fetch has no entry '{fetched}': add it"
            )
    return problems


def _unknown_sources(document: _Document) -> list[str]:
    """Sources in the phases of pretraining that there are not."""
    known = document.values["ingest"]["sources"]
    return [
        f"{document.path}: pretrain.phases[{number}].weights: unknown source '{name}'; there are {', '.join(known)}"
        for number, phase in enumerate(document.values["pretrain"]["phases"])
        for name in phase["weights"]
        if name not in known
    ]


def _at_odds_with_the_model(document: _Document) -> list[str]:
    """Sequences longer than a new model reads, and adapters for layers that it does not have.

    A model that is continued is described by its own config.json: the stages hold it against their parameters.
    """
    values, path = document.values, document.path
    if values["pretrain"]["init_from"] is not None:
        return []
    params = ModelParams.model_validate(values["model"]).root
    if isinstance(params, TransformersParams):
        from forgeline.model.families import check_family  # only here: the library takes a second to import
        from forgeline.model.traits import max_positions

        try:
            window = max_positions(check_family(params, num_entries(values["tokenizer"])))
        except ParamsError as error:
            return [str(error).replace("params.yaml", str(path), 1)]
        return _too_long(document, window, "what model.model_type reads by default or model.overrides say,")
    return _too_long(document, params.max_position_embeddings, "model.max_position_embeddings") + [
        f"{path}: {name}.target_modules: a model of model.kind {params.kind} with these choices has no layer "
        f"{', '.join(missing)}: take it out"
        for name, targets in _named_targets(values)
        if (missing := _missing(targets, params))
    ]


def _named_targets(values: Any) -> Iterator[tuple[str, list[str]]]:
    """Where adapters name their layers, presets left out: those are found from the model."""
    named = values["sft"]["peft"].get("target_modules")
    if isinstance(named, list):
        yield "sft.peft", named
    for group in ("align", "reinforce"):
        for key, section in values[group].items():
            yield f"{group}.{key}.lora", section["lora"]["target_modules"]


def _missing(target_modules: list[str], params: LlamaParams | DecoderParams) -> list[str]:
    known = linear_names(params)
    return [name for name in target_modules if name not in known]


def _too_long(document: _Document, window: int | None, limit: str) -> list[str]:
    values = document.values
    lengths = {
        "pack.sequence_length": values["pack"]["sequence_length"],
        "sft.max_length": values["sft"]["max_length"],
        "reward.max_length": values["reward"]["max_length"],
        **{f"align.{key}.max_length": entry["max_length"] for key, entry in values["align"].items()},
        "evaluate.scoring.window_tokens": values["evaluate"]["scoring"]["window_tokens"],
        **{f"reinforce.{key}.max_new_tokens": entry["max_new_tokens"] for key, entry in values["reinforce"].items()},
    }
    return [
        f"{document.path}: {name} {length} is more than {limit} {window}: lower it or raise that"
        for name, length in lengths.items()
        if window is not None and length > window
    ]


def _contradictions(document: _Document) -> list[str]:
    """Rules between sections; every section by itself is already valid."""
    values, path = document.values, document.path
    problems = _nothing_to_read(document) + _unknown_sources(document)
    problems += _at_odds_with_the_model(document)
    plain_models = [*MODELS, *values["merge"]["models"]]
    known = {*plain_models, *values["quantize"]}
    for section in ("evaluate", "benchmark", "register"):
        unknown = sorted(set(values[section]["models"]) - known)
        if unknown:
            problems.append(
                f"{path}: {section}.models: unknown {', '.join(unknown)}; there are {', '.join(sorted(known))}"
            )
    wanted = {name for name in values["evaluate"]["scoring"]["tasks"] if name not in BUILT_IN_TASKS}
    kept_out = {file.stem for file in TASK_FILES.glob("*.yaml")}  # of the corpus, whether models are scored on them
    problems += unreadable_definitions(TASK_FILES, sorted(wanted | kept_out))
    adapters = [*values["align"], *values["reinforce"]]
    problems += [
        f"{path}: merge.models: no adapter '{name}' is trained; there are {', '.join(adapters)}"
        for name in values["merge"]["models"]
        if name not in adapters
    ]
    problems += [
        f"{path}: quantize.{name}.model: unknown '{entry['model']}'; there are {', '.join(plain_models)}"
        for name, entry in values["quantize"].items()
        if entry["model"] not in plain_models
    ]
    both = sorted(set(values["align"]) & set(values["reinforce"]))
    if both:
        problems.append(
            f"{path}: align.{both[0]} and reinforce.{both[0]} would both write models/{both[0]}_adapter: rename one"
        )
    problems += [
        f"{path}: reinforce.{name}.scoring_model is models/sft, where the policy itself starts: name another model "
        "(models/reward, or a teacher)"
        for name, entry in values["reinforce"].items()
        if entry["scoring_model"].rstrip("/") == "models/sft"
        and (entry["method"] == "distill" or entry["reward_weights"]["model"])
    ]
    taken = {*plain_models, "tokenizer", "reward", *(f"{name}_adapter" for name in adapters)}
    clash = sorted(set(values["quantize"]) & taken)
    if clash:
        problems.append(f"{path}: quantize.{clash[0]} would overwrite models/{clash[0]}: choose another name")
    problems += [
        f"{path}: align.{name} would be merged into models/{name}, which is another model's: choose another name"
        for name in values["align"]
        if name in ("base", "sft", "tokenizer", "reward")
    ]
    return problems
