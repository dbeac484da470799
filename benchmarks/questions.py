"""Questions, a tokenizer and models for benchmarks of evaluation.

The questions are those of the packaged ontology that the default run holds out. Models are Llamas with random weights,
of 3 and 23 million of them: what an answer costs does not depend on what the model knows.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from benchmarks.bpe_training import byte_bpe_params, write_shards
from forgeline.core.records import EvalSample
from forgeline.evaluation.tasks.base import Subject
from forgeline.sources.hpo import load_ontology
from forgeline.sources.hpo_questions import hpo_questions
from forgeline.sources.hpo_split import HpoParams, split_terms
from forgeline.tokenization.byte_bpe import train_byte_bpe

_DESCRIPTOR = Path(__file__).resolve().parent.parent / "src" / "forgeline" / "sources" / "hpo.json"
_SPLIT = HpoParams(seed=17, validation_fraction=0.05, test_fraction=0.10, max_phenotypes=8)
_NUM_LAYERS, _POSITIONS = 6, 512
# Vocabulary, hidden size, feed-forward size, heads, whether head and embedding are one.
SIZES = {"3M": (4096, 192, 512, 6, True), "23M": (32768, 256, 1024, 4, False)}


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
    return {name: Subject(_model(name, tokenizer), tokenizer) for name in SIZES}


def _model(name: str, tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    vocab_size, hidden_size, intermediate_size, num_heads, tied = SIZES[name]
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            intermediate_size=intermediate_size,
            num_hidden_layers=_NUM_LAYERS,
            num_attention_heads=num_heads,
            num_key_value_heads=num_heads,
            max_position_embeddings=_POSITIONS,
            tie_word_embeddings=tied,
            initializer_range=0.1,  # of the default the likeliest tokens differ by less than rounding
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).eval()
