"""sft: fine-tuning with LoRA on packed rows, one core, against TRL's documented script and padding to the longest.

Conversations are those of MedQuAD where the environment's FORGELINE_MEDQUAD names the file (lines with `question` and
`answer`), else made here with its lengths. All three train the same adapter on a 3M model with the same optimizer in
bfloat16, and cut conversations at the same length; counted are tokens of conversations, not of padding, for each second
of the CPU within the training steps.
"""

import json
import os
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer

from benchmarks.bpe_training import byte_bpe_params, write_shards
from benchmarks.harness import Comparison, Options, alternate
from forgeline.core.records import Conversation
from forgeline.model.build import build_model
from forgeline.model.compute import set_up
from forgeline.model.loading import load_model, save_model_files
from forgeline.model.params import ComputeParams, LlamaParams
from forgeline.tokenization.byte_bpe import train_byte_bpe
from forgeline.tokenization.chat import render_conversation
from forgeline.training.params.sft import SftParams
from forgeline.training.sft import train_sft
from forgeline.training.trl.held_out import IGNORED
from forgeline.training.trl.trainer import Context

_DATA_VARIABLE = "FORGELINE_MEDQUAD"
_MAX_LENGTH, _ROWS, _STEPS, _WARM_UP_STEPS = 1024, 4, 6, 1
_NUM_CONVERSATIONS, _VOCAB_SIZE, _SEED = 1200, 4096, 17
_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_MODEL = LlamaParams(
    kind="llama",
    hidden_size=192,
    intermediate_size=512,
    num_hidden_layers=4,
    num_attention_heads=3,
    num_key_value_heads=3,
    max_position_embeddings=_MAX_LENGTH,
    attention_dropout=0.0,
    rope_theta=10000.0,
    rms_norm_eps=1e-5,
    initializer_range=0.02,
    tie_word_embeddings=True,
)
# Words of MedQuAD's questions and answers, at every twentieth of them.
_QUESTION_WORDS = (3, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10, 11, 11, 12, 27)
_ANSWER_WORDS = (1, 26, 42, 51, 61, 71, 84, 97, 111, 123, 138, 155, 174, 199, 232, 252, 279, 315, 380, 523, 4281)


@dataclass(frozen=True)
class _Work:
    """What every contestant gets."""

    base: Path
    tokenizer: PreTrainedTokenizerBase
    conversations: list[Conversation]
    rows: list[dict[str, list[int]]]
    folder: Path


def run(options: Options, num_pairs: int = 3) -> Comparison:
    """Tokens per CPU second of our packed rows and of TRL's; at least twice those of rows padded to the longest."""
    with TemporaryDirectory() as name:
        work = _prepare(Path(name))
        others: list[float] = []

        def both_peers() -> float:
            others.append(_padded(work))
            return _trl(work)

        ours, trl = alternate(lambda: _ours(work), both_peers, num_pairs)
    padded = statistics.median(others[1:])
    print(f"padded to the longest: {padded:,.0f} tokens per CPU second, ours is {ours / padded:.2f} times that")
    return Comparison(
        "sft",
        ours,
        trl,
        "tokens per CPU second",
        target=1.0,
        higher_is_better=True,
        others_hold=ours >= 2 * padded,
    )


def _prepare(folder: Path) -> _Work:
    set_up(ComputeParams(num_threads=1, precision="bf16"), _SEED)
    pairs = _pairs()
    shards = write_shards(folder / "documents.parquet", [f"{question} {answer}" for question, answer in pairs])
    tokenizer = train_byte_bpe(shards, byte_bpe_params(_VOCAB_SIZE, 2))
    save_model_files(build_model(_MODEL, tokenizer), tokenizer, folder / "base")
    conversations, rows = [], []
    for question, answer in pairs:
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        chat = render_conversation(tokenizer, turns)
        conversations.append(Conversation.make("medquad", "", "", turns))
        ids, said = chat.input_ids[:_MAX_LENGTH], chat.assistant_mask[:_MAX_LENGTH]
        labels = [token if spoken else IGNORED for token, spoken in zip(ids, said, strict=True)]
        rows.append({"input_ids": ids, "labels": labels})
    mean = sum(len(row["input_ids"]) for row in rows) / len(rows)
    print(f"{len(rows):,} conversations of {mean:.0f} tokens on average, cut at {_MAX_LENGTH}")
    return _Work(folder / "base", tokenizer, conversations, rows, folder)


def _pairs() -> list[tuple[str, str]]:
    """Questions and answers, in an order of their own."""
    draw = random.Random(_SEED)
    if file := os.environ.get(_DATA_VARIABLE):
        lines = Path(file).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in draw.sample(lines, min(_NUM_CONVERSATIONS, len(lines)))]
        return [(row["question"], row["answer"]) for row in rows]
    words = [f"{first}{second}" for first in ("ba", "ne", "ti", "lo", "ru") for second in ("gen", "sis", "ma", "tal")]

    def text(lengths: tuple[int, ...]) -> str:
        place = draw.randrange(len(lengths) - 1)
        return " ".join(draw.choice(words) for _ in range(draw.randint(lengths[place], lengths[place + 1])))

    return [(text(_QUESTION_WORDS), text(_ANSWER_WORDS)) for _ in range(_NUM_CONVERSATIONS)]


class _Clock:
    """Tokens and CPU seconds of the steps after the first few."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def step(self) -> None:
        self.times.append(time.process_time())

    def rate(self, num_tokens_per_step: float) -> float:
        """Tokens per CPU second."""
        steps = len(self.times) - 1 - _WARM_UP_STEPS
        return steps * num_tokens_per_step / (self.times[-1] - self.times[_WARM_UP_STEPS])


class _Stopwatch(TrainerCallback):
    def __init__(self, clock: _Clock) -> None:
        self._clock = clock

    def on_step_end(self, *arguments: Any, **named: Any) -> None:
        self._clock.step()


def _ours(work: _Work) -> float:
    clock = _Clock()

    def log(step: int, figures: Any) -> None:
        if "train_loss" in figures:
            clock.step()

    params = SftParams(
        peft={
            "kind": "lora",
            "r": 8,
            "alpha": 16,
            "rslora": False,
            "dropout": 0.0,
            "target_modules": _TARGETS,
            "train_embeddings": "none",
            "earlier": None,
        },
        num_steps=_STEPS,
        micro_batch_size=_ROWS,
        gradient_accumulation_steps=1,
        learning_rate=1e-3,
        weight_decay=0.0,
        schedule="constant",
        warmup_steps=0,
        max_grad_norm=1.0,
        max_length=_MAX_LENGTH,
        truncation="answer_end",
        packing=True,
        assistant_only_loss=True,
        neftune_alpha=None,
        final_weights="last",
        seed=_SEED,
        eval_every_steps=_STEPS,
        eval_conversations=1,
        sample_conversations=0,
        sample_tokens=1,
        checkpoint_every_steps=_STEPS,
    )
    compute = ComputeParams(num_threads=1, precision="bf16")
    with TemporaryDirectory(dir=work.folder) as scratch:
        context = Context(compute, torch.device("cpu"), Path(scratch), log)
        result = train_sft(work.base, work.conversations, work.conversations[:1], params, context)
    return clock.rate(_ROWS * _MAX_LENGTH * result.figures["row_fill"])


def _arguments(kind: Callable[..., Any], folder: str, **specific: Any) -> Any:
    return kind(
        output_dir=folder,
        max_steps=_STEPS,
        per_device_train_batch_size=_ROWS,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        bf16=True,
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=_SEED,
        dataloader_pin_memory=False,
        **specific,
    )


def _lora() -> LoraConfig:
    return LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=_TARGETS, task_type="CAUSAL_LM")


def _trl(work: _Work) -> float:
    """As in TRL's documentation of SFTTrainer: a dataset of messages, packing, LoRA; activations kept, as ours are."""
    clock = _Clock()
    with TemporaryDirectory(dir=work.folder) as scratch:
        trainer = SFTTrainer(
            model=load_model(work.base, torch.device("cpu")),
            args=_arguments(
                SFTConfig,
                scratch,
                packing=True,
                max_length=_MAX_LENGTH,
                assistant_only_loss=True,
                activation_checkpointing=False,
            ),
            train_dataset=Dataset.from_list([{"messages": one.messages} for one in work.conversations]),
            processing_class=work.tokenizer,
            peft_config=_lora(),
            callbacks=[_Stopwatch(clock)],
        )
        packed = trainer.train_dataset
        trainer.train()
    return clock.rate(_ROWS * sum(map(len, packed["input_ids"])) / len(packed))


def _padded(work: _Work) -> float:
    """MedicalGPT's way: the Trainer of transformers, examples in random order, each batch padded to its longest.

    Four rows of at most 1,024 tokens are what its `run_sft.sh` documents. That also recomputes activations in the
    backward pass (`--gradient_checkpointing True`), which is left off here, in its favour.
    """
    clock = _Clock()
    counted: list[int] = []
    pad = DataCollatorForSeq2Seq(work.tokenizer, label_pad_token_id=IGNORED)

    def collate(rows: list[dict[str, Any]]) -> Any:
        counted.append(sum(len(row["input_ids"]) for row in rows))
        return pad([{**row, "attention_mask": [1] * len(row["input_ids"])} for row in rows])

    model = get_peft_model(load_model(work.base, torch.device("cpu")), _lora())
    with TemporaryDirectory(dir=work.folder) as scratch:
        Trainer(
            model=model,
            args=_arguments(TrainingArguments, scratch),
            data_collator=collate,
            train_dataset=Dataset.from_list(work.rows),
            callbacks=[_Stopwatch(clock)],
        ).train()
    timed = counted[_WARM_UP_STEPS + 1 : _STEPS]
    return clock.rate(sum(timed) / len(timed))
