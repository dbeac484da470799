import numpy as np
import pytest
import torch
from forgeline.training.grpo import Answers, compare, make_judge, train_grpo, verifiable_prompts
from forgeline.training.loop.rollouts import Prompt
from forgeline.training.params.grpo import RewardWeights
from tests.unit.training.test_policy import policy_params
from tests.unit.training.toys import chat, files

from forgeline.core.errors import DataError
from forgeline.core.records import Conversation
from forgeline.model.loading import load_model, save_model_files
from forgeline.tokenization.chat import render_conversation, render_prompt
from forgeline.training.rewards import exact_reward, format_reward


@pytest.mark.parametrize(
    ("output", "exact", "form"),
    [
        ("\\boxed{Eye}", 1, 1),
        ("It is \\boxed{ Eye }.", 1, 1),
        ("\\boxed{Ear}", 0, 1),
        ("Eye", 0, 0),
        ("\\boxed{Eye", 0, 0),
        ("\\boxed{Ear} \\boxed{Eye}", 1, 0),  # the last box counts, but one was asked for
        ("\\boxed{}", 0, 0),
        ("\\boxed{eye}", 0, 1),
    ],
)
def test_rewards_by_hand(output, exact, form):
    assert exact_reward(output, "\\boxed{Eye}") == exact
    assert format_reward(output, ended=True) == form
    assert format_reward(output, ended=False) == 0


def test_an_unboxed_reference_is_never_matched():
    assert exact_reward("\\boxed{Eye}", "Eye") == 0
    assert exact_reward("Eye", "Eye") == 0


def test_the_judge_weighs_rewards_and_asks_for_an_ended_turn(tokenizer):
    judge = make_judge(tokenizer, RewardWeights(exact=1.0, format=0.1))
    ids = tokenizer.encode("\\boxed{Eye}", add_special_tokens=False)
    prompt = Prompt((2,), "\\boxed{Eye}")
    assert judge(prompt, [*ids, tokenizer.eos_token_id]) == {"reward": 1.1, "exact": 1.0, "format": 1.0}
    assert judge(prompt, ids) == {"reward": 1.0, "exact": 1.0, "format": 0.0}
    assert judge(prompt, []) == {"reward": 0.0, "exact": 0.0, "format": 0.0}


def test_prompts_are_what_sft_trained_on_and_the_rest_is_counted(tokenizer, conversations):
    other = Conversation.make("toy", "smalltalk", "", chat("hi", "\\boxed{x}"))
    prose = Conversation.make("toy", "color", "", chat("red?", "Fire"))
    prompts, dropped = verifiable_prompts(tokenizer, [other, prose, *conversations], ["color"])
    assert dropped == {"other_task": 1, "not_verifiable": 1}
    assert len(prompts) == len(conversations)
    for prompt, conversation in zip(prompts, conversations, strict=True):
        trained = render_conversation(tokenizer, conversation.messages).input_ids
        assert tuple(trained[: len(prompt.input_ids)]) == prompt.input_ids
        assert list(prompt.input_ids) == render_prompt(tokenizer, conversation.messages[:-1])
    with pytest.raises(DataError, match=r"change align\.grpo\.tasks"):
        verifiable_prompts(tokenizer, [other, prose], ["color"])


def test_the_gain_is_paired():
    before = Answers([True, False, False, False], np.array([1.0, 0.0, 0.0, 0.0]))
    after = Answers([True, True, False, False], np.array([1.5, 0.5, 0.5, 0.5]))
    scores = compare(before, after, 3)
    assert scores["greedy_exact_after"]["value"] == 0.5
    assert scores["greedy_exact_after"]["baseline"] == 0.25
    gain = scores["sampled_reward_gain"]
    assert (gain["value"], gain["low"], gain["high"], gain["n"]) == (0.5, 0.5, 0.5, 4)


def test_it_trains_an_adapter_that_loads_on_its_parent(chat_model, compute, conversations, tmp_path):
    params = policy_params(num_steps=3)
    results = []
    for name in ("a", "b"):
        result = train_grpo(
            chat_model,
            conversations,
            conversations,
            params,
            compute,
            torch.device("cpu"),
            checkpoints=tmp_path / f"scratch {name}",
            log=lambda step, figures: None,
        )
        save_model_files(result.model, result.tokenizer, tmp_path / name)
        results.append(result)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert results[0].figures == results[1].figures
    assert results[0].counts.as_json() == {"in": 18, "out": 18, "dropped": {"other_task": 0, "not_verifiable": 0}}
    assert results[0].figures["validation"]["greedy_exact_before"]["n"] == 4
    ids = torch.tensor([[2, 50, 60, 70]])
    loaded = load_model(tmp_path / "a", torch.device("cpu"))
    torch.testing.assert_close(loaded(ids).logits, results[0].model.eval()(ids).logits)
