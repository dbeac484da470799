"""One engine's training in this process: `python -m benchmarks.training.engines ENGINE JOB REPORT`, see `setting`.

All engines start from the same weights and see the same windows in the same order, with AdamW of the same rate, betas
and decay, and gradients clipped at 1. What else differs is what each of them does by itself.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.training.setting import Job, Setting
from forgeline.core.storage import write_json
from forgeline.packing.dataset import TokenDataset
from forgeline.training.loop.objective import split_window
from forgeline.training.params.pretrain import PretrainParams
from forgeline.training.pretraining.batch import StepBatches

_RATE, _BETAS, _DECAY, _CLIP = 1e-3, (0.9, 0.95), 0.1, 1.0
_WARM_UP_STEPS = 3
_VALIDATION_WINDOWS = 64


def _llama(setting: Setting) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=setting.vocab_size,
            hidden_size=setting.hidden_size,
            intermediate_size=setting.intermediate_size,
            num_hidden_layers=setting.num_hidden_layers,
            num_attention_heads=setting.num_attention_heads,
            num_key_value_heads=setting.num_attention_heads,
            max_position_embeddings=setting.sequence_length,
            tie_word_embeddings=setting.tie_word_embeddings,
            dtype=torch.float32,
        )
    )


def _params(job: Job) -> PretrainParams:
    return PretrainParams.model_validate(
        {
            "init_from": None,
            "peft": "none",
            "lora": {"r": 1, "alpha": 1, "dropout": 0.0, "target_modules": ["q_proj"]},
            "train_embeddings": "none",
            "num_steps": job.num_steps,
            "num_processes": 1,
            "parallel": "ddp",
            "micro_batch_size": job.setting.batch_size,
            "gradient_accumulation_steps": 1,
            "phases": [],
            "document_mask": False,
            "compile": job.compile,
            "gradient_checkpointing": False,
            "optimizer": {
                "name": "adamw",
                "learning_rate": _RATE,
                "betas": list(_BETAS),
                "epsilon": 1e-8,
                "weight_decay": _DECAY,
            },
            "schedule": {"name": "constant", "warmup_steps": 0},
            "max_grad_norm": _CLIP,
            "spike_factor": None,
            "seed": job.seed,
            "eval_every_steps": job.num_steps,
            "eval_windows": 1,
            "checkpoint_every_steps": job.num_steps + 1,
            "keep_checkpoints": 1,
            "final_weights": "last",
        }
    )


class _Clock:
    """CPU seconds of every step."""

    def __init__(self) -> None:
        self._last: float | None = None
        self.seconds: list[float] = []

    def tick(self, *_: object) -> None:
        """At the end of a step."""
        now = time.process_time()
        if self._last is not None:
            self.seconds.append(now - self._last)
        self._last = now


def _ours(job: Job, train: TokenDataset, clock: _Clock) -> Callable[[Tensor], Tensor]:
    from accelerate import Accelerator

    from forgeline.training.pretrain import pretrain

    model = _llama(job.setting)
    with TemporaryDirectory() as folder:
        pretrain(
            model,
            train,
            train,
            _params(job),
            accelerator=Accelerator(mixed_precision="bf16", cpu=True),
            checkpoints=Path(folder),
            log=clock.tick,
        )
    return lambda ids: model(input_ids=ids).logits


def _batches(job: Job, train: TokenDataset) -> Iterator[tuple[Tensor, Tensor]]:
    batches = StepBatches(train, _params(job), process=0, num_processes=1)
    for step in range(job.num_steps):
        (batch,) = batches.of_step(step)
        yield batch.input_ids, batch.labels


def _trainer(job: Job, train: TokenDataset, clock: _Clock) -> Callable[[Tensor], Tensor]:
    from torch.utils.data import SequentialSampler
    from transformers import Trainer, TrainerCallback, TrainingArguments

    # Its model shifts labels itself, so it learns from one token less of every window.
    rows = [{"input_ids": ids, "labels": ids} for inputs, _ in _batches(job, train) for ids in inputs]

    class _Steps(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: object, **__: object) -> None:
            clock.tick()

    class _InOrder(Trainer):  # type: ignore[misc]
        def _get_train_sampler(self, *_: object) -> SequentialSampler:
            return SequentialSampler(rows)

    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=True,
            bf16=True,
            per_device_train_batch_size=job.setting.batch_size,
            max_steps=job.num_steps,
            learning_rate=_RATE,
            adam_beta1=_BETAS[0],
            adam_beta2=_BETAS[1],
            weight_decay=_DECAY,
            max_grad_norm=_CLIP,
            lr_scheduler_type="constant",
            report_to=[],
            save_strategy="no",
            logging_steps=job.num_steps,
            dataloader_num_workers=0,
        )
        model = _llama(job.setting)
        _InOrder(model, arguments, train_dataset=rows, callbacks=[_Steps()]).train()
    return lambda ids: model(input_ids=ids).logits


def _litgpt(job: Job, train: TokenDataset, clock: _Clock) -> Callable[[Tensor], Tensor]:
    """The steps of `litgpt.pretrain.fit`, which itself can only read folders of its own."""
    import lightning
    from litgpt import GPT, Config
    from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama
    from litgpt.utils import chunked_cross_entropy

    setting = job.setting
    fabric = lightning.Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    config = Config(
        block_size=setting.sequence_length,
        vocab_size=setting.vocab_size,
        padded_vocab_size=setting.vocab_size,
        n_layer=setting.num_hidden_layers,
        n_head=setting.num_attention_heads,
        n_embd=setting.hidden_size,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
        intermediate_size=setting.intermediate_size,
    )
    start: dict[str, Tensor] = {}
    copy_weights_hf_llama(config, {}, start, _llama(setting).state_dict())
    model = GPT(config)
    model.load_state_dict(start)
    if setting.tie_word_embeddings:
        model.transformer.wte.weight = model.lm_head.weight
    compiled = fabric.setup(torch.compile(model))
    adamw = torch.optim.AdamW(model.parameters(), lr=_RATE, betas=_BETAS, weight_decay=_DECAY)
    optimizer = fabric.setup_optimizers(adamw)
    for inputs, labels in _batches(job, train):
        fabric.backward(chunked_cross_entropy(compiled(inputs), labels.contiguous()))
        fabric.clip_gradients(compiled, optimizer, max_norm=_CLIP)
        optimizer.step()
        optimizer.zero_grad()
        clock.tick()
    return model


_ENGINES = {"ours": _ours, "trainer": _trainer, "litgpt": _litgpt}


@torch.no_grad()
def _validation_loss(logits_of: Callable[[Tensor], Tensor] | nn.Module, validation: TokenDataset) -> float:
    windows = validation.windows(np.arange(min(_VALIDATION_WINDOWS, len(validation)), dtype=np.int64))
    losses = []
    for inputs, labels in (split_window(torch.from_numpy(row[None])) for row in windows):
        losses.append(F.cross_entropy(logits_of(inputs)[0].float(), labels[0]).item())
    return statistics.fmean(losses)


def main(engine: str, job_text: str, report: Path) -> None:
    """Trains and writes what came of it."""
    values: dict[str, Any] = json.loads(job_text)
    job = Job(**{**values, "setting": Setting(**values["setting"])})
    torch.set_num_threads(1)
    torch.manual_seed(job.seed)
    clock = _Clock()
    logits_of = _ENGINES[engine](job, TokenDataset(Path(job.data), "train"), clock)
    tokens = job.setting.batch_size * job.setting.sequence_length
    outcome = {
        "tokens_per_second": tokens / statistics.median(clock.seconds[_WARM_UP_STEPS:]),
        "validation_loss": _validation_loss(logits_of, TokenDataset(Path(job.data), "validation")),
    }
    write_json(report, outcome)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
