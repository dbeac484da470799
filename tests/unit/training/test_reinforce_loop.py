import os
import signal

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import get_peft_model
from tests.unit.training.policies import METHODS, PROMPTS, good_tokens, policy_params
from tests.unit.training.toys import LORA, Killed, killer

from forgeline.core.errors import StopRequested
from forgeline.model.loading import load_model
from forgeline.training.lora import lora_config
from forgeline.training.order import record_order
from forgeline.training.params.lora import LoraParams
from forgeline.training.reinforce.loop import train_policy
from forgeline.training.reinforce.methods import make_method
from forgeline.training.reinforce.rollouts import Actor, copy_merged, merged_copy
from forgeline.training.reinforce.sequences import (
    Answer,
    Group,
    answer_log_probabilities,
    answered_ids,
    group_answers,
    token_counts,
)


@pytest.fixture
def make_model(chat_model):
    def make():
        plain = load_model(chat_model, torch.device("cpu"))
        plain.get_input_embeddings().weight.data.mul_(5)  # logits that an adapter can move
        torch.manual_seed(3)
        return get_peft_model(plain, lora_config(plain, LoraParams(**LORA)))

    return make


@pytest.fixture
def model(make_model):
    return make_model()


@pytest.fixture
def teacher(chat_model):
    plain = load_model(chat_model, torch.device("cpu"))
    plain.get_input_embeddings().weight.data.mul_(5)
    plain.model.layers[0].mlp.down_proj.weight.data.mul_(-3)
    return plain.requires_grad_(False)


@pytest.fixture
def train(model, teacher, compute, tmp_path):
    def run(params, *, judge=good_tokens, log=lambda step, figures: None, on=model, scratch="scratch"):
        actor = Actor(on, [3], 1, compute)
        method = make_method(params, teacher, compute)
        return train_policy(
            on, PROMPTS, judge, method, actor, params, compute, checkpoints=tmp_path / scratch, log=log
        )  # fmt: skip

    return run


def adapter(model):
    return {name: weights.clone() for name, weights in model.state_dict().items() if "lora" in name}


def test_equal_answers_become_one_with_a_count():
    group = group_answers((2, 50), [[7, 3], [8, 3], [7, 3], [7, 3]], [0.5, -1.0, 0.5, 0.6])
    assert group == Group((2, 50), [Answer((7, 3), 0.5, 2), Answer((8, 3), -1.0, 1), Answer((7, 3), 0.6, 1)])
    groups = [group, Group((2,), [Answer((9,), 2.0, 1)])]
    assert token_counts(groups, torch.device("cpu")).tolist() == [2, 2, 1, 1, 1, 1, 1]
    assert answered_ids(groups, torch.device("cpu")).tolist() == [7, 3, 8, 3, 7, 3, 9]


TOKENS = st.lists(st.integers(0, 250), min_size=1, max_size=5).map(tuple)
GROUPS = st.lists(
    st.builds(Group, TOKENS, st.lists(TOKENS.map(lambda ids: Answer(ids, 0.0, 1)), min_size=1, max_size=4)),
    min_size=1,
    max_size=3,
)


@given(groups=GROUPS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_log_probabilities_are_those_of_each_answer_alone(model, compute, groups):
    found = answer_log_probabilities(model, groups, 0.7, compute)
    expected = []
    for group in groups:
        for answer in group.answers:
            ids = [*group.prompt_ids, *answer.output_ids]
            rows = torch.log_softmax(model(torch.tensor([ids])).logits[0] / 0.7, dim=-1)
            expected.append(rows[len(group.prompt_ids) - 1 : -1])
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-4, atol=1e-4)


def test_the_actor_answers_like_the_adapted_model_or_like_the_reference(model, compute):
    actor = Actor(model, [3], 1, compute)
    assert actor.is_packed
    copy = merged_copy(model, torch.float32)
    for name, weights in model.named_parameters():
        if "lora" in name:
            weights.data.normal_(std=0.3)
    copy_merged(model, copy)
    ids = torch.tensor([[2, 50, 60, 3]])
    found = {}
    for with_adapter in (True, False):
        actor.refresh(with_adapter=with_adapter)
        found[with_adapter] = actor.answer(PROMPTS, 12, 0.0, None)
    with torch.no_grad():
        torch.testing.assert_close(copy(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-4)
        for with_adapter, answers in found.items():
            for prompt, answer in zip(PROMPTS, answers, strict=True):
                whole = torch.tensor([[*prompt.input_ids, *answer]])
                if with_adapter:
                    logits = model(whole).logits[0]
                else:
                    with model.disable_adapter():
                        logits = model(whole).logits[0]
                assert logits[len(prompt.input_ids) - 1 : -1].argmax(-1).tolist() == answer
    assert found[True] != found[False]


def test_the_first_update_is_the_gradient_of_the_formula(model, train, compute):
    """One step of plain gradient descent in disguise: compares Adam's first direction with a dense loss by hand."""
    start = adapter(model)
    train(policy_params(num_steps=1, num_epochs=1, minibatch_size=16, learning_rate=1e-3, weight_decay=0.0))
    moved = {name: weights - start[name] for name, weights in adapter(model).items()}
    for name, weights in model.named_parameters():
        if name in start:
            weights.data.copy_(start[name])
    actor, generator = Actor(model, [3], 1, compute), torch.Generator().manual_seed(3)
    asked = [PROMPTS[index] for index in record_order(6, 4, 3) for _ in range(4)]
    answers = actor.answer(asked, 3, 1.0, generator)
    rewards = torch.tensor([row["reward"] for row in good_tokens(asked, answers)]).view(4, 4)
    advantages = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True, unbiased=False) + 1e-6)
    loss, count = torch.zeros(()), 0
    for prompt, answer, advantage in zip(asked, answers, advantages.flatten(), strict=True):
        ids = [*prompt.input_ids, *answer]
        rows = torch.log_softmax(model(torch.tensor([ids])).logits[0], dim=-1)
        logps = rows[torch.arange(len(ids) - len(answer) - 1, len(ids) - 1), torch.tensor(answer)]
        loss, count = loss - ((logps - logps.detach()).exp() * advantage).sum(), count + len(answer)
    (loss / count).backward()  # the divergence and its gradient are 0 where policy and reference agree
    for name, weights in model.named_parameters():
        if name in moved and weights.grad is not None and bool((weights.grad.abs() > 1e-6).any()):
            sure = weights.grad.abs() > 1e-5
            assert (moved[name][sure].sign() == -weights.grad[sure].sign()).all(), name


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grpo", "rloo", "ppo"])
def test_reward_rises(train, method):
    params = policy_params(method, num_steps=25, prompts_per_step=6, minibatch_size=24, learning_rate=0.05)
    history = train(params)
    assert history[-1]["reward"] > history[0]["reward"] + 0.3
    assert history[0]["kl"] < history[-1]["kl"]
    assert set(history[0]) >= {"train_loss", "kl", "clip_fraction", "entropy", "share_of_equal_groups", "reward_std"}
    if method == "ppo":
        assert history[-1]["value_loss"] < history[0]["value_loss"]
        assert max(row["explained_variance"] for row in history) > 0.2


@pytest.mark.slow
def test_distillation_comes_near_the_teacher(train):
    history = train(policy_params("distill", num_steps=25, prompts_per_step=6, minibatch_size=24, learning_rate=0.02))
    assert history[-1]["train_loss"] < history[0]["train_loss"] / 2
    assert all(row["clip_fraction"] == 0 for row in history)


@pytest.mark.slow
def test_the_divergence_penalty_holds_the_policy_back(model, train):
    start = {name: weights.clone() for name, weights in model.state_dict().items()}
    free = train(policy_params(num_steps=12, kl_coefficient=0.0, checkpoint_every_steps=100))
    model.load_state_dict(start)
    held = train(policy_params(num_steps=12, kl_coefficient=5.0, checkpoint_every_steps=100))
    assert held[-1]["kl"] < free[-1]["kl"] / 2


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_resumes_to_the_same_bytes(train, make_model, method):
    params = policy_params(method)
    killed, resumed, calm = make_model(), make_model(), make_model()
    with pytest.raises(Killed):
        train(params, log=killer(5), on=killed)
    for name, weights in resumed.named_parameters():
        if "lora" in name:
            weights.data.normal_()  # another process
    history = train(params, on=resumed)
    assert train(params, on=calm, scratch="calm") == history
    assert adapter(calm).keys() == adapter(resumed).keys()  # the critic is gone
    assert all(torch.equal(weights, adapter(resumed)[name]) for name, weights in adapter(calm).items())


def test_policy_reference_and_critic_share_the_base(model, train):
    """No second copy of the base: with a critic there are as many weights that are no adapter's as before."""
    size = sum(weights.numel() for name, weights in model.named_parameters() if "lora" not in name)
    base = {name: weights.data_ptr() for name, weights in model.named_parameters() if "lora" not in name}
    seen = []

    def log(step, figures):
        seen.append({name: weights for name, weights in model.named_parameters()})

    train(policy_params("ppo", num_steps=2), log=log)
    during = {name: weights for name, weights in seen[-1].items() if "lora" not in name}
    assert sum(weights.numel() for weights in during.values()) == size
    assert {name: weights.data_ptr() for name, weights in during.items()} == base
    assert any(".critic." in name for name in seen[-1])


def test_while_the_critic_warms_up_the_policy_stays(model, train):
    start = adapter(model)
    params = policy_params("ppo", num_steps=3, critic_warmup_steps=2)
    policies = []
    train(params, log=lambda step, figures: policies.append(adapter(model)))
    for policy in policies[:2]:
        assert all(torch.equal(policy[name], weights) for name, weights in start.items())
    assert any(not torch.equal(policies[2][name], weights) for name, weights in start.items())


def test_a_stop_signal_saves_and_says_how_to_go_on(train):
    def log(step, figures):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StopRequested, match="checkpoint at step 3 saved; run the same command to resume"):
        train(policy_params(), log=log)
    assert [row["step"] for row in train(policy_params())] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_equal_rewards_are_reported_and_teach_nothing(model, train, capsys, method):
    start = adapter(model)
    params = policy_params(method, num_steps=2, kl_coefficient=0.0, weight_decay=0.0)
    history = train(params, judge=lambda prompts, answers: [{"reward": 0.5}] * len(answers))
    assert capsys.readouterr().err.count("all answers of every group earned the same in step 1") == 1
    assert [row["share_of_equal_groups"] for row in history] == [1.0, 1.0]
    assert all(torch.equal(weights, start[name]) for name, weights in adapter(model).items())


def test_speed_is_told_and_kept_out_of_the_history(train):
    told = []
    history = train(policy_params(num_steps=1), log=lambda step, figures: told.append(figures))
    assert told[0]["rollout_tokens_per_second"] > 0
    assert 0 < told[0]["rollout_share_of_time"] < 1
    assert not any("second" in name or "time" in name for name in history[0])


def test_sampling_is_the_same_whatever_the_batch(model, compute):
    actor = Actor(model, [3], 1, compute)
    drawn = [actor.answer(PROMPTS, 3, 1.0, torch.Generator().manual_seed(8)) for _ in range(2)]
    assert drawn[0] == drawn[1]
