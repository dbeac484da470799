"""rollouts: sampled tokens a second, 3M and 23M weights, against transformers' `generate`; same greedy tokens."""

import time
from collections.abc import Sequence

import torch
from transformers import LlamaForCausalLM

from benchmarks.harness import Comparison, Options, alternate
from benchmarks.models import SIZES, random_llama
from forgeline.inference.engine import generate
from forgeline.inference.packed import PackedLlama

_BATCH, _PROMPT_TOKENS, _NEW_TOKENS, _NUM_PAIRS = 32, 32, 128, 3
_TARGET = 2.0


def run(options: Options) -> Comparison:
    """Measures both sizes; the JSON has the smaller ratio.

    CPU time of one thread. Ours packs bfloat16 weights before every measurement, as a rollout does after an update; the
    peer has float32 weights, which on the reference machine is its faster precision.
    """
    del options  # a model's work does not depend on the size of a text
    torch.set_num_threads(1)
    found: dict[str, tuple[float, float]] = {}
    same = True
    for name in SIZES:
        model = random_llama(name, bos_token_id=None, eos_token_id=None, pad_token_id=0)
        prompts = torch.randint(1, model.config.vocab_size, (_BATCH, _PROMPT_TOKENS))
        same = _same_greedy(model, prompts) and same
        print(f"{name}: {sum(weights.numel() for weights in model.parameters()):,} weights, batch of {_BATCH}")
        found[name] = alternate(lambda: _ours(model, prompts), lambda: _peer(model, prompts), _NUM_PAIRS)  # noqa: B023
    for name, (ours, peer) in found.items():
        print(f"{name}: {ours:,.0f} and {peer:,.0f} tokens/s, ratio {ours / peer:.2f}; same greedy tokens: {same}")
    worst = min(found, key=lambda name: found[name][0] / found[name][1])
    ours, peer = found[worst]
    return Comparison("rollouts", ours, peer, "tokens/s", _TARGET, higher_is_better=True, others_hold=same)


def _rate(start: float) -> float:
    return _BATCH * _NEW_TOKENS / (time.process_time() - start)


def _ours(model: LlamaForCausalLM, prompts: torch.Tensor) -> float:
    ids = prompts.tolist()
    start = time.process_time()
    _answer(PackedLlama(model, torch.bfloat16), ids, temperature=1.0)
    return _rate(start)


def _peer(model: LlamaForCausalLM, prompts: torch.Tensor) -> float:
    start = time.process_time()
    _generate(model, prompts, do_sample=True, top_k=0)
    return _rate(start)


def _same_greedy(model: LlamaForCausalLM, prompts: torch.Tensor) -> bool:
    """Whether both write the same tokens, in the same precision, when each step takes the likeliest."""
    ours = _answer(PackedLlama(model, torch.float32), prompts.tolist(), temperature=0.0)
    return ours == _generate(model, prompts, do_sample=False)[:, _PROMPT_TOKENS:].tolist()


def _answer(packed: PackedLlama, prompts: Sequence[Sequence[int]], temperature: float) -> list[list[int]]:
    written = generate(
        packed,
        prompts,
        max_new_tokens=_NEW_TOKENS,
        stop_token_ids=[],
        pad_token_id=0,
        temperature=temperature,
        generator=torch.Generator().manual_seed(1) if temperature else None,
        batch_tokens=_BATCH * (_PROMPT_TOKENS + _NEW_TOKENS),
    )
    return [generation.output_ids for generation in written]


def _generate(model: LlamaForCausalLM, prompts: torch.Tensor, **knobs: object) -> torch.Tensor:
    mask = torch.ones_like(prompts)
    output: torch.Tensor = model.generate(
        prompts, attention_mask=mask, max_new_tokens=_NEW_TOKENS, min_new_tokens=_NEW_TOKENS, **knobs
    )
    return output
