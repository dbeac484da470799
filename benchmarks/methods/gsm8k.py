"""GSM8K on the smallest model that comes with a package: SFT on worked answers, then GRPO on the exact result.

    python -m benchmarks.methods.gsm8k --train gsm8k_train.jsonl --test gsm8k_test.jsonl --folder DIR

Only questions whose worked answer has at most `--calculations` of them are taken: SmolLM2-135M solves almost no others.
DIR takes the models, checkpoints (a killed run goes on) and `result.json`. Prints accuracies with intervals.
"""

import argparse
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peft import get_peft_model

from benchmarks.methods.rewards import method_params
from benchmarks.methods.sft import COMPUTE, SEED, sft_params, smollm2
from forgeline.core.records import Conversation
from forgeline.core.storage import write_json
from forgeline.evaluation.scores import proportion
from forgeline.model.compute import set_up
from forgeline.model.loading import save_model_files
from forgeline.tokenization.chat import stop_token_ids
from forgeline.tokenization.loading import load_tokenizer
from forgeline.training.lora import load_plain, lora_config
from forgeline.training.order import record_order
from forgeline.training.params.reinforce import MethodParams
from forgeline.training.reinforce.judge import make_judge
from forgeline.training.reinforce.rollouts import Actor
from forgeline.training.reinforce.train import Inputs, measure, select_prompts, train_reinforce
from forgeline.training.sft import train_sft
from forgeline.training.trl.trainer import Context

_TASK = "gsm8k"
_CALCULATION = re.compile(r"<<[^>]*>>")  # the annotations of a calculator, which the model does not have
_EVERY_STEPS = 10  # checkpoints of GRPO


def main() -> None:
    """Reads the command line, trains twice, measures three times and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--calculations", type=int, default=2)
    parser.add_argument("--sft-steps", type=int, default=200)
    parser.add_argument("--grpo-steps", type=int, default=20)
    parser.add_argument("--questions", type=int, default=100, help="held-out ones that are answered each time")
    options = parser.parse_args()
    train = conversations(options.train, options.calculations)
    test = conversations(options.test, options.calculations)
    params = grpo_params(options.grpo_steps, options.questions)
    device = set_up(COMPUTE, SEED)
    start = time.process_time()
    base = smollm2(options.folder / "base")
    figures: dict[str, Any] = {"base": accuracy(base, test, params)}
    print(figures, flush=True)
    sft = options.folder / "sft"
    if not sft.exists():
        context = Context(COMPUTE, device, options.folder / "sft-scratch", lambda step, values: None)
        tuned = train_sft(base, train, test[:50], sft_params(options.sft_steps), context)
        save_model_files(tuned.model.merge_and_unload(), tuned.tokenizer, sft)
    inputs = Inputs(sft, train, test, sft, Path(params.custom_reward.file))
    result = train_reinforce(
        _TASK, inputs, params, COMPUTE, device, checkpoints=options.folder / "grpo-scratch", log=_print_step
    )
    figures |= {"after": result.figures["validation"], "cpu_seconds": time.process_time() - start}
    write_json(options.folder / "result.json", figures)
    print(json.dumps(figures, indent=2))


def conversations(file: Path, num_calculations: int) -> list[Conversation]:
    """Questions with worked answers that end in a boxed result."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if len(_CALCULATION.findall(row["answer"])) <= num_calculations:
            worked, _, result = _CALCULATION.sub("", row["answer"]).partition("####")
            answer = f"{worked.strip()}\n\\boxed{{{result.strip()}}}"
            turns = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": answer}]
            found.append(Conversation.make(_TASK, _TASK, row["question"], turns))
    return found


def grpo_params(num_steps: int, num_questions: int) -> MethodParams:
    """The knobs of `reinforce.grpo` but for a smaller batch, longer answers and a lower learning rate."""
    return method_params(
        "grpo",
        tasks=[_TASK],
        num_steps=num_steps,
        prompts_per_step=8,
        minibatch_size=32,
        max_new_tokens=112,
        learning_rate=1e-4,
        warmup_steps=min(2, num_steps),
        eval_prompts=num_questions,
        checkpoint_every_steps=_EVERY_STEPS,
    )


def accuracy(folder: Path, test: Sequence[Conversation], params: MethodParams) -> dict[str, Any]:
    """Share of held-out questions answered exactly, greedily, by a model folder."""
    tokenizer = load_tokenizer(folder)
    prompts, _ = select_prompts(_TASK, tokenizer, test, params, None)
    order = record_order(len(prompts), len(prompts), params.seed)[: params.eval_prompts]
    plain = load_plain(folder, set_up(COMPUTE, SEED))
    stop_ids = stop_token_ids(tokenizer)
    actor = Actor(get_peft_model(plain, lora_config(plain, params.lora)), stop_ids, tokenizer.pad_token_id, COMPUTE)
    actor.refresh(with_adapter=False)
    judge = make_judge(tokenizer, stop_ids, params, None, None)
    answers = measure(actor, [prompts[index] for index in order], judge, params)
    return proportion(answers.exact, None, None).as_json()


def _print_step(step: int, figures: Any) -> None:
    print(step, {name: round(value, 4) for name, value in figures.items()}, flush=True)


if __name__ == "__main__":
    main()
