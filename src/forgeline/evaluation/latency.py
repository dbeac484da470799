"""How fast a model answers on this machine. Measured times: outside the promise of reproducible bytes."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from forgeline.core.errors import ParamsError
from forgeline.core.process import peak_memory_bytes
from forgeline.core.records import EvalSample
from forgeline.evaluation.benchmark_params import WorkloadParams
from forgeline.inference.engine import generate

_WARM_UP_TOKENS = 2


def choose_questions(questions: Sequence[EvalSample], workload: WorkloadParams) -> list[EvalSample]:
    """A seeded choice of `workload.num_prompts` questions.

    Raises:
        ParamsError: There are fewer.
    """
    if workload.num_prompts > len(questions):
        raise ParamsError(
            f"params.yaml: benchmark.workload.num_prompts {workload.num_prompts} is more than the {len(questions)} "
            "evaluation questions: lower it"
        )
    chosen = np.random.default_rng(workload.seed).permutation(len(questions))[: workload.num_prompts]
    return [questions[index] for index in sorted(chosen.tolist())]


def measure(model: PreTrainedModel, prompts: Sequence[list[int]], workload: WorkloadParams) -> dict[str, Any]:
    """Latency of one answer at a time, and throughput of all at once.

    Every answer is exactly `max_new_tokens` long, whatever the model would rather say.

    Returns:
        `latency_seconds` (mean, median, p95 over prompts and repeats), `tokens_per_second` (median over repeats of new
        tokens per second with all prompts in one batch), `peak_memory_bytes` of the process so far.
    """
    _answer(model, prompts[:1], _WARM_UP_TOKENS)
    alone = [
        _answer(model, [prompt], workload.max_new_tokens) for _ in range(workload.num_repeats) for prompt in prompts
    ]
    together = [_answer(model, prompts, workload.max_new_tokens) for _ in range(workload.num_repeats)]
    return {
        "latency_seconds": {
            "mean": float(np.mean(alone)),
            "median": float(np.median(alone)),
            "p95": float(np.percentile(alone, 95)),
        },
        "tokens_per_second": len(prompts) * workload.max_new_tokens / float(np.median(together)),
        "peak_memory_bytes": peak_memory_bytes(),
    }


def size_bytes(model: Path) -> int:
    """Bytes of a model folder's weights."""
    return sum(file.stat().st_size for file in model.glob("*.safetensors"))


def _answer(model: PreTrainedModel, prompts: Sequence[list[int]], max_new_tokens: int) -> float:
    start = time.perf_counter()
    generate(
        model,
        prompts,
        max_new_tokens=max_new_tokens,
        stop_token_ids=(),
        pad_token_id=0,
        temperature=0.0,
        generator=None,
        batch_tokens=len(prompts) * (max(len(prompt) for prompt in prompts) + max_new_tokens),
    )
    return time.perf_counter() - start
