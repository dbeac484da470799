"""What a plan should make its reader think about, each with what to change."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forgeline.planning.corpus import SourceEstimate
from forgeline.planning.costs import StageCost
from forgeline.planning.vocabulary import num_entries
from forgeline.planning.work import Params

MAX_EPOCHS = 4.0  # up to here repeated text is nearly worth new text: Muennighoff et al. 2023
MIN_TOKENS_PER_ENTRY = 100  # of the vocabulary: Gowda and May 2020, for 95 % of the entries
_TIGHT_MEMORY = 0.9


@dataclass(frozen=True)
class Situation:
    """What the machine has, and what the outputs need of its disk."""

    needed_disk_bytes: float
    free_disk_bytes: int
    physical_memory_bytes: int


def find_warnings(
    params: Params,
    estimates: Sequence[SourceEstimate],
    epochs: Mapping[str, float | None],
    num_tokens: int,
    costs: Sequence[StageCost],
    situation: Situation,
) -> list[str]:
    """One line for each.

    Args:
        params: All of params.yaml.
        estimates: The sources.
        epochs: How often pretraining reads each source, by name.
        num_tokens: Of all sources whose size is known.
        costs: Of the stages.
        situation: Of the machine.
    """
    found = [line for estimate in estimates for line in _of_source(estimate, params)]
    found += [
        f"pretraining reads {name} {number:.1f} times: beyond {MAX_EPOCHS:g} passes a model learns little more from "
        "the same text; add text, or lower its weight or pretrain.num_steps"
        for name, number in epochs.items()
        if number is not None and number > MAX_EPOCHS
    ]
    entries = num_entries(params["tokenizer"])
    is_chosen = "vocab_size" in params["tokenizer"]  # else it is the origin's, which cannot be lowered
    if is_chosen and 0 < num_tokens < entries * MIN_TOKENS_PER_ENTRY and params["pretrain"]["init_from"] is None:
        found.append(
            f"tokenizer.vocab_size {entries:,} is large for {num_tokens:,} tokens of text: an entry occurs "
            f"{num_tokens / entries:.0f} times, too few to learn it well; lower it to "
            f"{num_tokens // MIN_TOKENS_PER_ENTRY:,} at most, or add text"
        )
    if situation.needed_disk_bytes > situation.free_disk_bytes:
        found.append(
            f"the outputs need {situation.needed_disk_bytes / 1e9:.1f} GB of disk and "
            f"{situation.free_disk_bytes / 1e9:.1f} GB are free: make room, or cap the sources"
        )
    largest = max(costs, key=lambda cost: cost.memory_bytes)
    if largest.memory_bytes > _TIGHT_MEMORY * situation.physical_memory_bytes:
        found.append(
            f"{largest.stage} may need {largest.memory_bytes / 1e9:.1f} GB of memory and this machine has "
            f"{situation.physical_memory_bytes / 1e9:.1f} GB: lower its batch size or the size of the model"
        )
    return found


def physical_memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _of_source(estimate: SourceEstimate, params: Params) -> list[str]:
    if estimate.problem:
        return [f"ingest.sources.{estimate.name} cannot be read: {estimate.problem}"]
    if estimate.num_bytes is None:
        return [f"{estimate.name} is not fetched yet and its size is not known: it is left out of all sums"]
    if estimate.has_less_than_asked:
        section = params["ingest"]["sources"][estimate.name]
        caps = [f"{cap} {section[cap]:,}" for cap in ("max_documents", "max_tokens") if section[cap] is not None]
        return [
            f"{estimate.name} holds less than it may give ({' and '.join(caps)}): about {estimate.num_documents:,} "
            f"documents, {estimate.num_bytes / params['ingest']['bytes_per_token']:,.0f} tokens; all of it is taken"
        ]
    return []
