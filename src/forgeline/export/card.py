"""The card of a model: what it is, what it learned from, what it scores, what it is not.

The sections are those of "Model Cards for Model Reporting" (Mitchell et al. 2019), as far as lineage and metrics answer
them; the head is the metadata that the Hugging Face hub reads. Nothing is written by hand, so nothing drifts from what
was measured.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgeline.core.errors import DataError
from forgeline.core.storage import read_json
from forgeline.sources.params import SourcesParams
from forgeline.text.card import CardParams

LINEAGE = "lineage.json"
_MOST_GENERATIONS = 16  # of parents that are followed


@dataclass(frozen=True)
class Step:
    """One stage of a model's making: the folder it wrote and its `lineage.json`."""

    folder: Path
    lineage: Mapping[str, Any]

    @property
    def stage(self) -> str:
        """Its address, `align@dpo` for instance."""
        return str(self.lineage["stage"])


@dataclass(frozen=True)
class Evidence:
    """What the card speaks of.

    Attributes:
        steps: The stages that made the model, the last first.
        scores: The metrics of `evaluate`, None where it was not evaluated.
        quantized: The metrics of `quantize`, None for plain weights.
        config: Of the model, as `config.json` has it.
    """

    steps: list[Step]
    scores: Mapping[str, Any] | None
    quantized: Mapping[str, Any] | None
    config: Mapping[str, Any]


def read_evidence(folder: Path, metrics: Path) -> Evidence:
    """What is known about the model in a folder of this repository.

    Raises:
        DataError: The folder has no `lineage.json`.
    """
    if not (folder / LINEAGE).is_file():
        raise DataError(f"{folder} has no {LINEAGE}, which every model folder of a run has: run `dvc repro`")
    scores, quantized = metrics / "evaluate" / f"{folder.name}.json", metrics / "quantize" / f"{folder.name}.json"
    return Evidence(
        _steps(folder),
        read_json(scores) if scores.is_file() else None,
        read_json(quantized) if quantized.is_file() else None,
        read_json(folder / "config.json"),
    )


def model_card(name: str, evidence: Evidence, card: CardParams, ingest: SourcesParams) -> str:
    """The card as Markdown; the same for the same arguments."""
    lines = [*_front_matter(card, ingest), f"# {name}\n"]
    for section in (_summary, _scores, _quantization, _training):
        lines += section(evidence)
    return "\n".join([*lines, *_data(card, ingest), *_limits(evidence, card)]) + "\n"


def _steps(folder: Path) -> list[Step]:
    """From a model back to where its weights began; a parent that is not here any more ends the chain."""
    steps: list[Step] = []
    current: Path | None = folder
    while current is not None and (current / LINEAGE).is_file() and len(steps) < _MOST_GENERATIONS:
        lineage = read_json(current / LINEAGE)
        steps.append(Step(current, lineage))
        inputs = [path for path in lineage["inputs"] if path.startswith("models/") and path != "models/tokenizer"]
        parent = lineage.get("parent") or next(iter(inputs), None)
        current = None if parent is None else Path(parent)
    return steps


def _front_matter(card: CardParams, ingest: SourcesParams) -> Iterator[str]:
    """Metadata of the hub: https://huggingface.co/docs/hub/model-cards. JSON strings are YAML strings."""
    yield "---"
    yield "library_name: transformers"
    yield "pipeline_tag: text-generation"
    yield f"license: {card.license}"
    if card.license_name is not None and card.license_link is not None:
        yield f"license_name: {json.dumps(card.license_name)}"
        yield f"license_link: {json.dumps(card.license_link)}"
    languages = sorted({source.language for source in ingest.sources.values()} - {"auto"})
    if languages:
        yield f"language: {json.dumps(languages)}"
    yield "---\n"


def _summary(evidence: Evidence) -> Iterator[str]:
    config = evidence.config
    stages = " <- ".join(f"`{step.stage}`" for step in evidence.steps)
    size = f"{config.get('num_hidden_layers', '?')} layers, hidden size {config.get('hidden_size', '?')}"
    yield f"A `{config['model_type']}` language model of {size}, vocabulary {config['vocab_size']}.\n"
    yield f"It was made by {stages}.\n"
    yield "```python"
    yield "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
    yield 'tokenizer = AutoTokenizer.from_pretrained("FOLDER")'
    yield 'model = AutoModelForCausalLM.from_pretrained("FOLDER")'
    yield "```\n"


def _scores(evidence: Evidence) -> Iterator[str]:
    yield "## Scores\n"
    if evidence.scores is None:
        yield "It was not evaluated.\n"
        return
    yield "On held-out samples, with 95 % intervals.\n"
    yield "| task | score | value | interval | samples | baseline |"
    yield "| --- | --- | ---: | --- | ---: | --- |"
    for task, scores in evidence.scores["tasks"].items():
        for score, found in scores.items():
            known = found["baseline"] is not None
            baseline = f"{found['baseline']:.3f} ({found['baseline_name']})" if known else ""
            interval = f"{found['low']:.3f} to {found['high']:.3f}, {found['interval']}"
            yield f"| {task} | {score} | {found['value']:.3f} | {interval} | {found['n']} | {baseline} |"
    yield ""
    for task, method in evidence.scores["methods"].items():
        yield f"- {task}: {method}"
    yield ""


def _quantization(evidence: Evidence) -> Iterator[str]:
    found = evidence.quantized
    if found is None:
        return
    cost = found["validation_bits_per_byte"]
    yield "## Quantization\n"
    yield f"- specification: `{found['tag']}`"
    weights, bits = found["num_quantized_weights"], found["bits_per_quantized_weight"]
    yield f"- bits for each of {weights:,} quantized weights: {bits:.2f}"
    yield f"- bits for each of all {found['num_parameters']:,} weights: {found['bits_per_weight']:.2f}"
    yield f"- bits per byte on validation text: {cost['before']:.4f} before, {cost['after']:.4f} after"
    yield f"- SHA-256 of the calibration windows: {found['calibration_sha256'] or 'none were used'}\n"


def _training(evidence: Evidence) -> Iterator[str]:
    yield "## How it was made\n"
    yield "Parameters and SHA-256 of the inputs of every step, the first first.\n"
    for step in reversed(evidence.steps):
        facts = {"params": step.lineage["params"], "inputs": step.lineage["inputs"]}
        yield f"<details><summary><code>{step.stage}</code></summary>\n"
        yield f"```json\n{json.dumps(facts, indent=1, sort_keys=True)}\n```\n"
        yield "</details>\n"
    lineage = evidence.steps[0].lineage
    libraries = {**lineage["environment"]["libraries"], **lineage.get("optional_libraries", {})}
    yield "Libraries: " + ", ".join(f"{name} {version}" for name, version in sorted(libraries.items())) + ".\n"


def _data(card: CardParams, ingest: SourcesParams) -> Iterator[str]:
    yield "## Data\n"
    yield f"{' '.join(card.description.split())}\n"
    yield "| source | language | licence | cite |"
    yield "| --- | --- | --- | --- |"
    for name, source in ingest.sources.items():
        yield f"| {name} | {source.language} | {_cell(source.license)} | {_cell(source.citation)} |"
    licence = f"[{card.license_name}]({card.license_link})" if card.license_link else card.license
    yield f"\nLicence of the whole: {licence}.\n"


def _limits(evidence: Evidence, card: CardParams) -> Iterator[str]:
    yield "## Limits\n"
    yield f"- It has learned from the data above ({card.title}) and knows nothing of other subjects and later events."
    yield "- What it writes may be wrong however certain it sounds: the scores above say how often, on questions of"
    yield "  their own kind. Do not rest decisions about people, such as medical ones, on it."
    yield "- It was not tested for bias, toxicity or safety."
    window = evidence.config.get("max_position_embeddings")
    if window is not None:
        yield f"- It reads at most {window} tokens."


def _cell(text: str | None) -> str:
    return " ".join((text or "").replace("|", "\\|").split())
