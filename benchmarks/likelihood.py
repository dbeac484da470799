"""likelihood: questions a second, 3M and 23M weights, against lm-eval with the same batch; same log-likelihoods.

Yes or no, and one of four definitions. Ours reads a question once for all its choices and computes logits for scored
tokens alone; lm-eval reads it again with every choice. It also counts the line feed that ends the prompt to the answer,
which adds the same to all choices of a question; so differences between choices are compared.
"""

import logging
import time

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from benchmarks.harness import Comparison, Options, alternate
from benchmarks.questions import make_subjects, open_questions
from forgeline.core.records import EvalSample
from forgeline.evaluation.tasks.base import Subject, answer_branches
from forgeline.evaluation.tasks.choices import choose

_NUM_QUESTIONS, _BATCH, _NUM_PAIRS = 64, 32, 3
_TARGET = 1.0
_TOLERANCE = 1e-5  # of float32 sums over up to a hundred tokens, as a share of the largest
_TASKS = ("is_a", "definition_choice")


def run(options: Options) -> Comparison:
    """Measures both sizes and kinds of question in CPU time of one thread; the JSON has the smallest ratio."""
    del options  # a model's work does not depend on the size of a text
    torch.set_num_threads(1)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    questions = open_questions(_NUM_QUESTIONS)
    found: list[tuple[float, float]] = []
    same = True
    for name, subject in make_subjects(questions.definitions).items():
        for task in _TASKS:
            asked = questions.by_task[task]
            budget = _BATCH * _longest(subject, asked)
            print(f"{name} {task}: {len(asked)} questions, batches of {_BATCH} rows, here {budget} tokens")
            found.append(
                alternate(lambda: _ours(subject, asked, budget)[0], lambda: _peer(subject, asked)[0], _NUM_PAIRS)  # noqa: B023
            )
            same = same and _same(_ours(subject, asked, budget)[1], _peer(subject, asked)[1], asked)
    print(f"same log-likelihoods: {same}")
    rate, peer_rate = min(found, key=lambda rates: rates[0] / rates[1])
    return Comparison(
        "likelihood", rate, peer_rate, "questions per CPU second", _TARGET, higher_is_better=True, others_hold=same
    )


def _same(ours: list[float], peer: list[float], questions: list[EvalSample]) -> bool:
    """Whether both find the same differences between the choices of every question."""
    largest = max(abs(logp) for logp in ours)
    starts = [sum(len(sample.choices) for sample in questions[:number]) for number in range(len(questions))]
    return all(
        abs((ours[first + number] - ours[first]) - (peer[first + number] - peer[first])) < _TOLERANCE * largest
        for first, sample in zip(starts, questions, strict=True)
        for number in range(len(sample.choices))
    )


def _longest(subject: Subject, questions: list[EvalSample]) -> int:
    """Tokens of the longest row that the peer reads."""
    rows = [answer_branches(subject.tokenizer, sample.prompt, sample.choices) for sample in questions]
    return max(len(row.prompt) + max(map(len, row.answers)) - 1 for row in rows)


def _ours(subject: Subject, questions: list[EvalSample], budget: int) -> tuple[float, list[float]]:
    start = time.process_time()
    choices = choose(subject, questions, budget, per_byte=False)
    rate = len(questions) / (time.process_time() - start)
    return rate, [logp for choice in choices for logp in choice.logps]


def _peer(subject: Subject, questions: list[EvalSample]) -> tuple[float, list[float]]:
    start = time.process_time()
    end = subject.tokenizer.eos_token
    prompts = [
        subject.tokenizer.apply_chat_template(sample.prompt, tokenize=False, add_generation_prompt=True)
        for sample in questions
    ]
    instances = [
        Instance("loglikelihood", {}, (prompt, choice + end), number)
        for prompt, sample in zip(prompts, questions, strict=True)
        for number, choice in enumerate(sample.choices)
    ]
    model = HFLM(pretrained=subject.model, tokenizer=subject.tokenizer, batch_size=_BATCH)
    scored = model.loglikelihood(instances, disable_tqdm=True)
    rate = len(questions) / (time.process_time() - start)
    return rate, [logp for logp, _ in scored]
