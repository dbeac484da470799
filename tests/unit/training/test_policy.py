import math
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import get_peft_model
from tests.unit.training.toys import LORA, OPTIMIZATION, Killed, killer

from forgeline.core.errors import StopRequested
from forgeline.model.loading import load_model
from forgeline.training.loop.policy import train_policy
from forgeline.training.loop.policy_loss import (
    Answer,
    Group,
    clipped_loss,
    group_advantages,
    is_clipped,
    k3_divergence,
    per_token,
    token_logps,
)
from forgeline.training.loop.rollouts import Prompt, Sampler, copy_merged, group_answers, merged_copy
from forgeline.training.lora import lora_config
from forgeline.training.params.grpo import GrpoParams
from forgeline.training.params.lora import LoraParams

PROMPTS = [Prompt((2, 50 + i, 60, 3), "") for i in range(6)]
GOOD = 77


def policy_params(**changes) -> GrpoParams:
    values = {
        **OPTIMIZATION,
        "schedule": "constant",
        "lora": LORA,
        "tasks": ["color"],
        "prompts_per_step": 4,
        "group_size": 4,
        "temperature": 1.0,
        "max_new_tokens": 3,
        "clip_range": 0.2,
        "kl_coefficient": 0.02,
        "num_epochs": 2,
        "minibatch_size": 8,
        "reward_weights": {"exact": 1.0, "format": 0.1},
        "eval_prompts": 4,
    }
    return GrpoParams(**{**values, **changes})


def good_tokens(prompt, output_ids):
    return {"reward": sum(token < GOOD for token in output_ids) / 3}


@pytest.fixture
def model(chat_model):
    plain = load_model(chat_model, torch.device("cpu"))
    plain.get_input_embeddings().weight.data.mul_(5)  # logits that an adapter can move
    torch.manual_seed(3)
    return get_peft_model(plain, lora_config(plain, LoraParams(**LORA)))


@pytest.fixture
def train(model, compute, tmp_path):
    def run(params, prompts=PROMPTS, judge=good_tokens, log=lambda step, figures: None):
        sampler = Sampler([3], 1, compute)
        return train_policy(
            model, prompts, judge, group_advantages, sampler, params, checkpoints=tmp_path / "scratch", log=log
        )

    return run


def adapter(model):
    return {name: weights.clone() for name, weights in model.state_dict().items() if "lora" in name}


def test_group_advantages_by_hand():
    # mean 0.25, deviations -0.25 -0.25 0.75 -0.25, population std sqrt(0.75 / 4) = 0.4330
    rewards = torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.1, 0.1, 0.1, 0.1]], dtype=torch.float64)
    expected = [[-0.57735, -0.57735, 1.73205, -0.57735], [0.0, 0.0, 0.0, 0.0]]
    torch.testing.assert_close(group_advantages(rewards), torch.tensor(expected).double(), rtol=1e-4, atol=1e-6)


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.floats(-5, 5), st.floats(0.5, 4))
def test_group_advantages_ignore_shift_and_scale(rewards, shift, scale):
    one = torch.tensor([rewards], dtype=torch.float64)
    if one.std() < 1e-2:
        return
    torch.testing.assert_close(group_advantages(one), group_advantages(one * scale + shift), rtol=1e-3, atol=1e-3)


def test_clipped_loss_by_hand():
    # ratios 1.5, 1.5, 0.5, 0.5, 1.1 with clip range 0.2
    logps = torch.log(torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1]))
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    loss = clipped_loss(logps, torch.zeros(5), advantages, 0.2)
    torch.testing.assert_close(loss, torch.tensor([-1.2, 1.5, -0.5, 0.8, -2.2]))
    clipped = is_clipped(logps, torch.zeros(5), advantages, 0.2)
    assert clipped.tolist() == [True, False, False, True, False]


def test_clipping_stops_exactly_the_gradients_it_says():
    logps = torch.log(torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1])).requires_grad_()
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    clipped_loss(logps, torch.zeros(5), advantages, 0.2).sum().backward()
    assert ((logps.grad == 0) == is_clipped(logps, torch.zeros(5), advantages, 0.2)).all()


def test_k3_divergence_by_hand():
    # d = log 2: 2 - 0.6931 - 1; d = 0: 0; d = -log 2: 0.5 + 0.6931 - 1
    logps, reference = torch.zeros(3), torch.tensor([math.log(2), 0.0, -math.log(2)])
    torch.testing.assert_close(k3_divergence(logps, reference), torch.tensor([0.306853, 0.0, 0.193147]))


def test_k3_divergence_is_an_unbiased_estimate_of_kl():
    policy, reference = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.3, 0.3, 0.4])
    estimate = (policy * k3_divergence(policy.log(), reference.log())).sum()  # its expectation under the policy
    torch.testing.assert_close(estimate, (policy * (policy / reference).log()).sum())


def test_equal_answers_become_one_with_a_count():
    group = group_answers((2, 50), [[7, 3], [8, 3], [7, 3]], [0.5, -1.0, 0.5])
    assert group == Group((2, 50), [Answer((7, 3), 0.5, 2), Answer((8, 3), -1.0, 1)])
    advantages, counts = per_token([group, Group((2,), [Answer((9,), 2.0, 1)])], torch.device("cpu"))
    assert advantages.tolist() == [0.5, 0.5, -1.0, -1.0, 2.0]
    assert counts.tolist() == [2, 2, 1, 1, 1]


TOKENS = st.lists(st.integers(0, 250), min_size=1, max_size=5).map(tuple)
GROUPS = st.lists(
    st.builds(Group, TOKENS, st.lists(TOKENS.map(lambda ids: Answer(ids, 0.0, 1)), min_size=1, max_size=4)),
    min_size=1,
    max_size=3,
)


@given(groups=GROUPS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_token_logps_are_those_of_each_answer_alone(model, compute, groups):
    logps, entropy = token_logps(model, groups, 0.7, compute)
    expected, entropies = [], []
    for group in groups:
        for answer in group.answers:
            ids = [*group.prompt_ids, *answer.output_ids]
            rows = torch.log_softmax(model(torch.tensor([ids])).logits[0] / 0.7, dim=-1)
            for position in range(len(group.prompt_ids), len(ids)):
                expected.append(rows[position - 1, ids[position]])
                entropies.append(torch.distributions.Categorical(logits=rows[position - 1]).entropy())
    torch.testing.assert_close(logps, torch.stack(expected), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(entropy, torch.stack(entropies).detach(), rtol=1e-4, atol=1e-4)


def test_the_merged_copy_answers_like_the_adapted_model(model, compute):
    actor = merged_copy(model, compute)
    for name, weights in model.named_parameters():
        if "lora" in name:
            weights.data.normal_(std=0.3)
    copy_merged(model, actor)
    ids = torch.tensor([[2, 50, 60, 70]])
    with torch.no_grad():
        torch.testing.assert_close(actor(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-4)
        with model.disable_adapter():
            assert not torch.allclose(actor(ids).logits, model(ids).logits, atol=1e-2)
    assert not any("lora" in name for name, _ in actor.named_parameters())
    low = merged_copy(model, compute.model_copy(update={"precision": "bf16"}))
    assert {weights.dtype for weights in low.parameters()} == {torch.bfloat16}


def test_the_first_update_is_the_gradient_of_the_formula(model, train, compute):
    """One step of plain gradient descent in disguise: compares Adam's first direction with a dense loss by hand."""
    start = adapter(model)
    train(policy_params(num_steps=1, num_epochs=1, minibatch_size=16, learning_rate=1e-3, weight_decay=0.0))
    moved = {name: weights - start[name] for name, weights in adapter(model).items()}
    for name, weights in model.named_parameters():
        if name in start:
            weights.data.copy_(start[name])
    sampler, generator = Sampler([3], 1, compute), torch.Generator().manual_seed(3)
    from forgeline.training.order import record_order

    asked = [PROMPTS[index] for index in record_order(6, 4, 3) for _ in range(4)]
    answers = sampler.answer(model, asked, max_new_tokens=3, temperature=1.0, generator=generator)
    rewards = torch.tensor([good_tokens(None, answer)["reward"] for answer in answers]).view(4, 4)
    advantages = (
        (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True, unbiased=False) + 1e-6)
    ).flatten()
    loss, count = torch.zeros(()), 0
    for prompt, answer, advantage in zip(asked, answers, advantages, strict=True):
        ids = [*prompt.input_ids, *answer]
        rows = torch.log_softmax(model(torch.tensor([ids])).logits[0], dim=-1)
        logps = rows[torch.arange(len(ids) - len(answer) - 1, len(ids) - 1), torch.tensor(answer)]
        loss, count = loss - ((logps - logps.detach()).exp() * advantage).sum(), count + len(answer)
    (loss / count).backward()  # the divergence and its gradient are 0 where policy and reference agree
    for name, weights in model.named_parameters():
        if name in moved and weights.grad is not None and bool((weights.grad.abs() > 1e-6).any()):
            sure = weights.grad.abs() > 1e-5
            assert (moved[name][sure].sign() == -weights.grad[sure].sign()).all(), name


def test_reward_rises(train):
    history = train(policy_params(num_steps=30, prompts_per_step=6, minibatch_size=24, learning_rate=0.05))
    assert history[-1]["reward"] > history[0]["reward"] + 0.3
    assert history[0]["kl"] < history[-1]["kl"]
    assert set(history[0]) >= {"train_loss", "kl", "clip_fraction", "entropy", "share_of_equal_groups", "learning_rate"}


def test_the_divergence_penalty_holds_the_policy_back(model, train, tmp_path):
    start = model.state_dict()
    start = {name: weights.clone() for name, weights in start.items()}
    free = train(policy_params(num_steps=12, kl_coefficient=0.0, checkpoint_every_steps=100))
    model.load_state_dict(start)
    held = train(policy_params(num_steps=12, kl_coefficient=5.0, checkpoint_every_steps=100))
    assert held[-1]["kl"] < free[-1]["kl"] / 2


def test_a_killed_run_resumes_to_the_same_bytes(model, train, compute, tmp_path):
    params = policy_params()
    with pytest.raises(Killed):
        train(params, log=killer(5))
    # another process: the adapter as at the start
    torch.manual_seed(1)
    for name, weights in model.named_parameters():
        if "lora" in name:
            weights.data.normal_()
    history = train(params)
    resumed = adapter(model)
    torch.manual_seed(3)
    fresh = get_peft_model(model.unload(), lora_config(model.unload(), LoraParams(**LORA)))
    calm = train_policy(
        fresh,
        PROMPTS,
        good_tokens,
        group_advantages,
        Sampler([3], 1, compute),
        params,
        checkpoints=tmp_path / "calm",
        log=lambda step, figures: None,
    )
    assert calm == history
    assert all(torch.equal(weights, resumed[name]) for name, weights in adapter(fresh).items())


def test_a_stop_signal_saves_and_says_how_to_go_on(train):
    import os
    import signal

    def log(step, figures):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StopRequested, match="checkpoint at step 3 saved; run the same command to resume"):
        train(policy_params(), log=log)
    assert [row["step"] for row in train(policy_params())] == [1, 2, 3, 4, 5, 6]


def test_equal_rewards_are_reported_and_teach_nothing(model, train, capsys):
    start = adapter(model)
    params = policy_params(num_steps=2, kl_coefficient=0.0, weight_decay=0.0)
    history = train(params, judge=lambda prompt, output_ids: {"reward": 0.5})
    assert capsys.readouterr().err.count("all answers of every group earned the same in step 1") == 1
    assert [row["share_of_equal_groups"] for row in history] == [1.0, 1.0]
    assert all(torch.equal(weights, start[name]) for name, weights in adapter(model).items())


def test_minibatches_must_hold_whole_groups():
    with pytest.raises(ValueError, match="minibatch_size 6 must be a multiple of group_size 4"):
        policy_params(minibatch_size=6)


def test_sampling_is_the_same_whatever_the_batch(model, compute):
    sampler = Sampler([3], 1, compute)
    twice = [replace(prompt) for prompt in PROMPTS]
    drawn = [
        sampler.answer(model, twice, max_new_tokens=3, temperature=1.0, generator=torch.Generator().manual_seed(8))
        for _ in range(2)
    ]
    assert drawn[0] == drawn[1]
