"""generation: answers a second, 3M and 23M weights, against transformers' `generate` one by one, and lm-eval's default.

All write greedily in float32 on one thread and have to write the same answers. Ours runs a task from its questions to
its scores; the peers render and write alone, every sixteenth question, since they take so much longer.
"""

import logging
import time
from collections.abc import Callable

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from benchmarks.harness import Comparison, Options, alternate
from benchmarks.questions import make_subjects, open_questions
from forgeline.core.records import EvalSample
from forgeline.evaluation.params import ScoringParams
from forgeline.evaluation.tasks.base import HeldOut, NgramBaseline, Subject
from forgeline.evaluation.tasks.organ_system import OrganSystem
from forgeline.tokenization.chat import stop_token_ids

_NUM_QUESTIONS, _EVERY, _NEW_TOKENS, _NUM_PAIRS = 128, 16, 32, 3
_BATCH_TOKENS = 8192
_TARGET_ONE_BY_ONE, _TARGET_LM_EVAL = 8.0, 2.0

Write = Callable[[Subject, list[EvalSample]], list[str]]


def run(options: Options) -> Comparison:
    """Measures both sizes in CPU time; the JSON has the smaller ratio to `generate` one by one."""
    del options  # a model's work does not depend on the size of a text
    torch.set_num_threads(1)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    questions = open_questions(_NUM_QUESTIONS)
    asked = questions.by_task["organ_system"]
    some = asked[::_EVERY]
    ratios: dict[str, tuple[float, float]] = {}
    lm_eval_holds = same = True
    for name, subject in make_subjects(questions.definitions).items():
        print(f"{name}: {len(asked)} questions, {len(some)} of them for the peers, {_NEW_TOKENS} new tokens")
        ours = lambda: _rate(_write_task, subject, asked)  # noqa: B023, E731
        ratios[name] = alternate(ours, lambda: _rate(_write_one_by_one, subject, some), _NUM_PAIRS)  # noqa: B023
        print(f"{name}: against lm-eval, batch of {_lm_eval(subject).batch_size}")
        fast, slow = alternate(ours, lambda: _rate(_write_lm_eval, subject, some), _NUM_PAIRS)  # noqa: B023
        print(f"{name}: {fast:.1f} and {slow:.1f} answers/s, ratio {fast / slow:.1f} (target {_TARGET_LM_EVAL})")
        lm_eval_holds = lm_eval_holds and fast / slow >= _TARGET_LM_EVAL
        written = _write_task(subject, asked)[::_EVERY]
        same = same and written == _write_one_by_one(subject, some) == _write_lm_eval(subject, some)
    print(f"same answers: {same}")
    ours_rate, peer_rate = min(ratios.values(), key=lambda rates: rates[0] / rates[1])
    return Comparison(
        "generation",
        ours_rate,
        peer_rate,
        "answers per CPU second",
        _TARGET_ONE_BY_ONE,
        higher_is_better=True,
        others_hold=lm_eval_holds and same,
    )


def _rate(write: Write, subject: Subject, questions: list[EvalSample]) -> float:
    start = time.process_time()
    write(subject, questions)
    return len(questions) / (time.process_time() - start)


def _write_task(subject: Subject, questions: list[EvalSample]) -> list[str]:
    scoring = ScoringParams(
        tasks=["organ_system"],
        max_documents=1,
        window_tokens=8,
        batch_tokens=_BATCH_TOKENS,
        max_new_tokens=_NEW_TOKENS,
        num_bootstrap=100,
        seed=17,
    )
    result = OrganSystem().run(subject, HeldOut([], questions, [], NgramBaseline(3, 2.0)), scoring)
    return [row["output"] for row in result.samples]


def _prompts(subject: Subject, questions: list[EvalSample]) -> list[str]:
    return [
        subject.tokenizer.apply_chat_template(sample.prompt, tokenize=False, add_generation_prompt=True)
        for sample in questions
    ]


def _write_one_by_one(subject: Subject, questions: list[EvalSample]) -> list[str]:
    outputs = []
    for prompt in _prompts(subject, questions):
        ids = subject.tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
        written = subject.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=_NEW_TOKENS,
            do_sample=False,
            eos_token_id=stop_token_ids(subject.tokenizer),
            pad_token_id=subject.tokenizer.pad_token_id,
        )
        outputs.append(str(subject.tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)))
    return outputs


def _lm_eval(subject: Subject) -> HFLM:
    return HFLM(pretrained=subject.model, tokenizer=subject.tokenizer)


def _write_lm_eval(subject: Subject, questions: list[EvalSample]) -> list[str]:
    knobs = {"until": [], "max_gen_toks": _NEW_TOKENS, "do_sample": False}
    instances = [
        Instance("generate_until", {}, (prompt, dict(knobs)), number)
        for number, prompt in enumerate(_prompts(subject, questions))
    ]
    return list(_lm_eval(subject).generate_until(instances, disable_tqdm=True))
