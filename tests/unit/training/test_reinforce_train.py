import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from tests.unit.training.policies import METHODS, policy_params, weights
from tests.unit.training.toys import chat, files
from transformers import AutoModelForCausalLM

from forgeline.core.errors import DataError, FingerprintError, ParamsError
from forgeline.core.params import plain, read_yaml
from forgeline.core.records import Conversation
from forgeline.model.loading import load_model, save_model_files
from forgeline.model.params import ComputeParams
from forgeline.tokenization.chat import render_conversation, render_prompt, stop_token_ids
from forgeline.training.params.reinforce import ReinforceParams
from forgeline.training.reinforce.custom_reward import load_reward
from forgeline.training.reinforce.judge import make_judge
from forgeline.training.reinforce.rollouts import Prompt
from forgeline.training.reinforce.scoring import load_reward_model, load_teacher, score
from forgeline.training.reinforce.train import Answers, Inputs, compare, select_prompts, train_reinforce
from forgeline.training.reward import scalar_head
from forgeline.training.rewards import exact_reward, format_reward

BREVITY = Path("configs/rewards/brevity.py")


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


def judge(tokenizer, answers, *, scoring=None, custom=None, **changes):
    params = policy_params(**changes)
    prompts = [Prompt((2,), "\\boxed{Eye}")] * len(answers)
    return make_judge(tokenizer, stop_token_ids(tokenizer), params, scoring, custom)(prompts, answers)


def test_the_judge_weighs_rewards_and_asks_for_an_ended_turn(tokenizer):
    ids = tokenizer.encode("\\boxed{Eye}", add_special_tokens=False)
    ended, cut, empty = judge(tokenizer, [[*ids, tokenizer.eos_token_id], ids, []])
    assert ended == {"reward": 1.1, "exact": 1.0, "format": 1.0, "share_truncated": 0.0}
    assert cut == {"reward": 1.0, "exact": 1.0, "format": 0.0, "share_truncated": 1.0}
    assert empty == {"reward": 0.0, "exact": 0.0, "format": 0.0, "share_truncated": 1.0}
    assert judge(tokenizer, [ids], missing_eos_penalty=0.4)[0]["reward"] == pytest.approx(0.6)


def test_length_model_and_custom_rewards_take_part_where_they_have_a_weight(tokenizer):
    ids = tokenizer.encode("\\boxed{Eye} it is", add_special_tokens=False)
    (row,) = judge(
        tokenizer,
        [[*ids, tokenizer.eos_token_id]],
        scoring=lambda sequences: [0.5 * (sequences[0] == (2, *ids, tokenizer.eos_token_id))],
        custom=load_reward(BREVITY, "brevity"),
        max_new_tokens=len(ids) + 6,
        length_target=len(ids) - 4,
        reward_weights=weights(exact=1.0, length=0.1, model=2.0, custom=0.3),
    )
    assert (row["exact"], row["length"], row["model"], row["custom"]) == (1, 0.5, 0.5, pytest.approx(1 / 3))
    assert row["reward"] == pytest.approx(1 + 0.05 + 1 + 0.1)


def test_prompts_are_what_sft_trained_on_and_the_rest_is_counted(tokenizer, conversations):
    other = Conversation.make("toy", "smalltalk", "", chat("hi", "\\boxed{x}"))
    prose = Conversation.make("toy", "color", "", chat("red?", "Fire"))
    long = Conversation.make("toy", "color", "", chat("red " * 200, "\\boxed{x}"))
    records = [other, prose, long, *conversations]
    prompts, dropped = select_prompts("reinforce.x", tokenizer, records, policy_params(), 60)
    assert dropped == {"other_task": 1, "not_verifiable": 1, "too_long": 1}
    assert len(prompts) == len(conversations)
    for prompt, conversation in zip(prompts, conversations, strict=True):
        trained = render_conversation(tokenizer, conversation.messages).input_ids
        assert tuple(trained[: len(prompt.input_ids)]) == prompt.input_ids
        assert list(prompt.input_ids) == render_prompt(tokenizer, conversation.messages[:-1])
    only_form = policy_params(reward_weights=weights(format=1.0))
    assert len(select_prompts("reinforce.x", tokenizer, records, only_form, None)[0]) == len(conversations) + 2
    with pytest.raises(DataError, match=r"other_task 1, not_verifiable 1, too_long 1; change reinforce\.x\.tasks"):
        select_prompts("reinforce.x", tokenizer, [other, prose, long], policy_params(), 60)


def test_float16_is_refused(tmp_path):
    inputs = Inputs(tmp_path, [], [], tmp_path, BREVITY)
    half = ComputeParams(num_threads=1, precision="fp16")
    with pytest.raises(
        ParamsError, match=r"reinforce\.x does not scale its loss: set compute\.precision to bf16 or fp32"
    ):
        train_reinforce(
            "reinforce.x", inputs, policy_params(), half, torch.device("cpu"), checkpoints=tmp_path, log=lambda *_: None
        )


def test_the_gain_is_paired():
    before = Answers([True, False, False, False], np.array([1.0, 0.0, 0.0, 0.0]))
    after = Answers([True, True, False, False], np.array([1.5, 0.5, 0.5, 0.5]))
    scores = compare(before, after, 3)
    assert scores["greedy_exact_after"]["value"] == 0.5
    assert scores["greedy_exact_after"]["baseline"] == 0.25
    gain = scores["sampled_reward_gain"]
    assert (gain["value"], gain["low"], gain["high"], gain["n"]) == (0.5, 0.5, 0.5, 4)


@pytest.mark.parametrize("method", METHODS)
def test_two_runs_agree_and_the_adapter_loads_in_plain_peft(chat_model, compute, conversations, tmp_path, method):
    params = policy_params(method, num_steps=2)
    inputs = Inputs(chat_model, conversations, conversations, chat_model, BREVITY)
    results = []
    for name in ("a", "b"):
        torch.manual_seed(len(results))
        scratch = tmp_path / f"scratch {name}"
        result = train_reinforce("reinforce.x", inputs, params, compute, torch.device("cpu"), checkpoints=scratch,
                                 log=lambda step, figures: None)  # fmt: skip
        save_model_files(result.model, result.tokenizer, tmp_path / name)
        results.append(result)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert results[0].figures == results[1].figures
    dropped = {"other_task": 0, "not_verifiable": 0, "too_long": 0}
    assert results[0].counts.as_json() == {"in": 18, "out": 18, "dropped": dropped}
    assert results[0].figures["validation"]["greedy_exact_before"]["n"] == 4
    plain_model = AutoModelForCausalLM.from_pretrained(chat_model, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(plain_model, str(tmp_path / "a")).eval()
    assert list(loaded.peft_config) == ["default"]
    ids = torch.tensor([[2, 50, 60, 70]])
    torch.testing.assert_close(loaded(ids).logits, results[0].model.eval()(ids).logits)


@pytest.fixture
def reward_model(chat_model, tokenizer, tmp_path):
    model = scalar_head(load_model(chat_model, torch.device("cpu")), tokenizer, 3)
    save_model_files(model, tokenizer, tmp_path / "reward")
    return tmp_path / "reward"


def test_reward_models_score_each_answer_alone_and_equal_ones_equally(reward_model, chat_model):
    model = load_reward_model(reward_model, chat_model, torch.device("cpu"))
    sequences = [(2, 50, 60), (2, 50, 60, 70, 80), (2, 50, 60), (2, 9)]
    found = score(model, sequences)
    assert found[0] == found[2]
    for sequence, value in zip(sequences, found, strict=True):
        assert value == pytest.approx(model(torch.tensor([sequence])).logits.item(), abs=1e-5)


def test_the_wrong_kind_of_scoring_model_is_refused(reward_model, chat_model):
    with pytest.raises(DataError, match="is a reward model, which cannot teach to write: change scoring_model"):
        load_teacher(reward_model, chat_model, torch.device("cpu"))
    with pytest.raises(DataError, match="is no reward model: change scoring_model"):
        load_reward_model(chat_model, chat_model, torch.device("cpu"))


def test_a_teacher_of_another_tokenizer_is_refused_with_both_named(chat_model, tmp_path):
    for file in chat_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer, indent=1))
    with pytest.raises(FingerprintError) as caught:
        load_teacher(tmp_path, chat_model, torch.device("cpu"))
    assert str(tmp_path) in str(caught.value)
    assert str(chat_model) in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [1.0]", "the reward function f returned 1 numbers for 2 answers: it must return one for each"),
        ("return [1.0, float('nan')]", "returned nan for answer 1: it must return a finite number for each"),
        ("return [1.0, 'x']", "returned 'x' for answer 1"),
        ("return None", "returned a NoneType: it must return a list of numbers"),
        ("return 1 / 0", ":2: the reward function f raised ZeroDivisionError: division by zero: mend it"),
    ],
)
def test_a_reward_function_that_breaks_its_promise_is_one_error(tmp_path, body, message):
    file = tmp_path / "mine.py"
    file.write_text(f"def f(prompts, answers, references):\n    {body}\n")
    with pytest.raises(DataError) as caught:
        load_reward(file, "f")(["a", "b"], ["c", "d"], ["e", "f"])
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_reward_function_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.py is no Python file: change custom_reward\.file"):
        load_reward(tmp_path / "nowhere.py", "f")
    with pytest.raises(DataError, match=r"has no function 'f': change custom_reward\.function; there are brevity"):
        load_reward(BREVITY, "f")
    (tmp_path / "broken.py").write_text("x = (\n")
    with pytest.raises(DataError, match=r"broken\.py: SyntaxError"):
        load_reward(tmp_path / "broken.py", "f")


def test_minibatches_must_hold_whole_groups():
    with pytest.raises(ValueError, match="minibatch_size 6 must be a multiple of group_size 4"):
        policy_params(minibatch_size=6)
    with pytest.raises(ValueError, match="all weights are 0"):
        policy_params(reward_weights=weights())
    with pytest.raises(ValueError, match="critic_warmup_steps 6 leaves none of num_steps 6"):
        policy_params("ppo", critic_warmup_steps=6)
    with pytest.raises(ValueError, match="scoring_model is the teacher here"):
        policy_params("distill", reward_weights=weights(model=1.0))


def test_the_documented_blocks_are_complete_and_valid():
    text = Path("docs/reinforcement.md").read_text(encoding="utf-8")
    shown = [block.partition("```")[0] for block in text.split("```yaml\n")[1:]]
    found = []
    for number, block in enumerate(shown):
        file = Path(f"block {number}")
        assert block.startswith("# params.yaml"), file
        found += [ReinforceParams.model_validate(entry).root.method for entry in _entries(block)]
    assert set(found) >= {"rloo", "ppo", "distill"}


def _entries(block: str) -> list[object]:
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(block)
        file.flush()
        return list(plain(read_yaml(Path(file.name)))["reinforce"].values())
