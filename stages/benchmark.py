"""benchmark: a model and questions -> how long loading and answering take here (measured, so not reproducible)."""

import time
from pathlib import Path

from forgeline.core.params import load
from forgeline.core.records import EvalSample, read_records
from forgeline.core.run import Counts, StageRun, command_line
from forgeline.evaluation.benchmark_params import WorkloadParams
from forgeline.evaluation.latency import choose_questions, measure, size_bytes
from forgeline.model.compute import set_up
from forgeline.model.loading import load_model
from forgeline.model.params import ComputeParams
from forgeline.tokenization.chat import render_prompt
from forgeline.tokenization.loading import load_tokenizer


def main(model: Path, questions: Path, metrics: Path) -> None:
    workload, compute = load("benchmark.workload", WorkloadParams), load("compute", ComputeParams)
    with StageRun(f"benchmark@{model.name}", {"benchmark.workload": workload, "compute": compute}, metrics) as run:
        device = set_up(compute, workload.seed)
        available = read_records(questions, EvalSample)
        tokenizer = load_tokenizer(model)
        chosen = choose_questions(available, workload)
        prompts = [render_prompt(tokenizer, sample.prompt, sample.tools) for sample in chosen]
        start = time.perf_counter()
        network = load_model(model, device)
        load_seconds = time.perf_counter() - start
        figures = measure(network, prompts, workload)
        counts = Counts(len(available), len(prompts), {"not_sampled": len(available) - len(prompts)})
        size = size_bytes(model)
        run.summarize(counts, model=model.name, load_seconds=load_seconds, size_bytes=size, **figures)


if __name__ == "__main__":
    command_line(main)
