"""How much of each evaluation set stands in training text: prompts, and answers that count as right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from forgeline.core.params import Section
from forgeline.core.records import Conversation, Counts, EvalSample, PreferencePair
from forgeline.evaluation.scores import proportion
from forgeline.evaluation.task_texts import PROMPTS, Asking, question_parts, task_texts
from forgeline.text.overlap import RunSearch, pieces


class ContaminationParams(Section):
    """Section `contamination`: texts that share a run of `shared_words` words with training text are counted."""

    shared_words: int = Field(ge=1)


@dataclass(frozen=True)
class Training:
    """All text that models learn from: documents of the corpus, what is said in conversations, and pairs."""

    corpus: pa.ChunkedArray
    conversations: Sequence[Conversation]
    pairs: Sequence[PreferencePair]

    def by_kind(self) -> dict[str, pa.ChunkedArray]:
        """Texts by the stage's word for them."""
        said = [message["content"] for chat in self.conversations for message in chat.messages]
        answers = [message["content"] for pair in self.pairs for message in pair.prompt]
        answers += [text for pair in self.pairs for text in (pair.chosen, pair.rejected)]
        return {"corpus": self.corpus, "instructions": _column(said), "preferences": _column(answers)}


@dataclass(frozen=True)
class Contamination:
    """What was found.

    Attributes:
        counts: Texts in; out are those that are long enough to be looked for.
        tasks: By task and part: shares found in each kind of training text and in any.
        unchecked: Tasks whose questions this repository does not hold.
    """

    counts: Counts
    tasks: dict[str, dict[str, dict[str, Any]]]
    unchecked: list[str]


def measure_contamination(
    documents: pa.Table,
    questions: Sequence[EvalSample],
    preferences: Sequence[PreferencePair],
    tasks: Path,
    training: Training,
    params: ContaminationParams,
) -> Contamination:
    """Looks for the texts of every evaluation set in all training text.

    Args:
        documents: Held-out documents, the set of task `perplexity`; each is a prompt.
        questions: Held-out questions.
        preferences: Held-out pairs; the chosen answer is the right one.
        tasks: Folder of task definitions, all of which are looked at.
        training: What models learn from.
        params: The section.

    Raises:
        ParamsError: A definition is not valid.
        DataError: The questions of one are wrong.
    """
    own = task_texts(tasks)
    rows = zip(documents["doc_id"].to_pylist(), documents["text"].to_pylist(), strict=True)
    asking = [Asking("perplexity", doc_id, PROMPTS, text) for doc_id, text in rows]
    for sample in questions:
        asking += question_parts(sample.task, sample.sample_id, sample.prompt, [sample.reference])
    for pair in preferences:
        asking += question_parts("preference", pair.pair_id, pair.prompt, [pair.chosen])
    asking += own.texts
    search = RunSearch([entry.text for entry in asking], params.shared_words)
    found = {kind: search.found_in(pieces(texts)) for kind, texts in training.by_kind().items()}
    found["any"] = np.logical_or.reduce(list(found.values()))
    short = int((~search.long_enough).sum())
    counts = Counts(len(asking), len(asking) - short, {"too_short": short} if short else {})
    return Contamination(counts, _shares(asking, search.long_enough, found), list(own.unchecked))


def _shares(
    asking: Sequence[Asking], long_enough: np.ndarray[Any, Any], found: Mapping[str, np.ndarray[Any, Any]]
) -> dict[str, dict[str, dict[str, Any]]]:
    members: dict[tuple[str, str], list[int]] = {}
    for index, entry in enumerate(asking):
        members.setdefault((entry.task, entry.part), []).append(index)
    tasks: dict[str, dict[str, dict[str, Any]]] = {}
    for (task, part), indices in members.items():
        shares = {kind: proportion(flags[indices].tolist(), None, None).as_json() for kind, flags in found.items()}
        too_short = int((~long_enough[indices]).sum())
        tasks.setdefault(task, {})[part] = {**shares, "too_short": too_short}
    return tasks


def _column(texts: list[str]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts, pa.string())])
