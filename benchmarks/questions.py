"""Questions, a tokenizer and models for benchmarks of evaluation.

The questions are those of the packaged ontology that the default run holds out.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.bpe_training import byte_bpe_params, write_shards
from benchmarks.models import SIZES, random_llama
from forgeline.core.records import EvalSample
from forgeline.evaluation.tasks.base import Subject
from forgeline.sources.hpo import load_ontology
from forgeline.sources.hpo_questions import hpo_questions
from forgeline.sources.hpo_split import HpoParams, split_terms
from forgeline.tokenization.byte_bpe import train_byte_bpe

_DESCRIPTOR = Path(__file__).resolve().parent.parent / "src" / "forgeline" / "sources" / "hpo.json"
_SPLIT = HpoParams(seed=17, validation_fraction=0.05, test_fraction=0.10, max_phenotypes=8)
_POSITIONS = 512


@dataclass(frozen=True)
class Questions:
    """Held-out questions by task, and the definitions of all terms, to train a tokenizer on."""

    by_task: dict[str, list[EvalSample]]
    definitions: list[str]


def open_questions(per_task: int) -> Questions:
    """The first `per_task` held-out questions of every task."""
    ontology = load_ontology(_DESCRIPTOR)
    by_task: dict[str, list[EvalSample]] = {}
    for question in hpo_questions(ontology, split_terms(ontology, _SPLIT), "hpo", _SPLIT.seed):
        found = by_task.setdefault(question.task, [])
        if question.split == "test" and len(found) < per_task:
            found.append(
                EvalSample.make(
                    question.task, question.split_key, question.prompt, question.answer, list(question.choices)
                )
            )
    return Questions(by_task, [term.definition for term in ontology.terms.values() if term.definition])


def make_subjects(definitions: list[str]) -> dict[str, Subject]:
    """Models by the name of their size, with the tokenizer that reads the questions for both."""
    with TemporaryDirectory() as folder:
        tokenizer = train_byte_bpe(write_shards(Path(folder), definitions), byte_bpe_params(SIZES["3M"][0], 2))
    return {
        name: Subject(
            random_llama(
                name,
                max_position_embeddings=_POSITIONS,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            ),
            tokenizer,
        )
        for name in SIZES
    }
