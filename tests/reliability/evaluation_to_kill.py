"""An evaluation of a small model that may kill its own process: `python FILE FOLDER PASSES`.

`FOLDER/scratch` keeps what is finished, `FOLDER/samples.jsonl` is written at the end. The process is killed at forward
pass number PASSES, or, with `b` before the number, before that batch is noted.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from forgeline.core.records import EvalSample, PreferencePair, documents_table
from forgeline.core.shards import ShardWriter, shard_paths
from forgeline.core.storage import write_json, write_jsonl
from forgeline.evaluation.evaluate import evaluate
from forgeline.evaluation.params import ScoringParams
from forgeline.evaluation.tasks.base import HeldOut, NgramBaseline, Subject
from forgeline.evaluation.work import Journal
from forgeline.inference.packed import PackedLlama
from forgeline.tokenization.byte_bpe import train_byte_bpe
from forgeline.tokenization.params import ByteBpeParams

TEXTS = ["Seizures are events of the nervous system.", "A cleft palate is an opening.", "Yes. No. boxed answers."]
SCORING = ScoringParams(
    tasks=["perplexity", "organ_system", "is_a", "preference"],
    max_documents=9,
    window_tokens=8,
    batch_tokens=120,
    max_new_tokens=8,
    num_bootstrap=100,
    seed=1,
)


def run(folder: Path) -> int:
    """Evaluates, and returns the number of batches that were computed in this process."""
    torch.set_num_threads(1)
    subject = _subject(folder)
    scratch = folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    journal = Journal(scratch)
    before = journal.note
    noted: list[Any] = []
    journal.note = lambda entry: (noted.append(entry), before(entry))  # type: ignore[method-assign,assignment]
    found = evaluate(subject, _held_out(), SCORING, {}, journal)
    write_json(folder / "metrics.json", found.tasks)
    write_jsonl(folder / "samples.jsonl", found.samples)
    return len(noted)


def kill_at(moment: str) -> None:
    """Arranges the end of this process."""
    left = [int(moment.removeprefix("b"))]

    def counted(function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)

        return call

    if moment.startswith("b"):
        Journal.note = counted(Journal.note)  # type: ignore[method-assign]
    else:
        PackedLlama.forward = counted(PackedLlama.forward)  # type: ignore[method-assign]


def _subject(folder: Path) -> Subject:
    table = documents_table(TEXTS * 3, "texts")
    if not (folder / "texts").exists():
        with ShardWriter(folder / "texts", table.schema, 1 << 20) as writer:
            writer.write(table)
    params = ByteBpeParams(
        kind="byte_bpe", vocab_size=280, min_frequency=2, normalization="none", split_digits=False,
        additional_special_tokens=[], chat_template="forgeline",
    )  # fmt: skip
    tokenizer = train_byte_bpe(shard_paths(folder / "texts"), params)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=128, initializer_range=0.4,
    )  # fmt: skip
    return Subject(LlamaForCausalLM(config).eval(), tokenizer)


def _held_out() -> HeldOut:
    def user(text: str) -> list[Any]:
        return [{"role": "user", "content": text}]

    organs = [EvalSample.make("organ_system", str(n), user("Organ of " + "a " * n), r"\boxed{Mouth}") for n in range(7)]
    kinds = [EvalSample.make("is_a", str(n), user("Is it " + "b " * n), "Yes.", ["Yes.", "No."]) for n in range(7)]
    pairs = [PreferencePair.make("s", "d", str(n), user("What " + "c " * n), "this", "that") for n in range(5)]
    documents = [(f"d{n}", " ".join(TEXTS[: 1 + n % 3])) for n in range(9)]
    return HeldOut(documents, [*organs, *kinds], pairs, NgramBaseline(3, 2.5))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        kill_at(sys.argv[2])
    sys.stdout.write(str(run(Path(sys.argv[1]))))
