from dataclasses import replace

import pytest
import torch
from tests.unit.training.toys import BATCHES, Killed, files, killer

from forgeline.core.errors import DataError
from forgeline.model.loading import load_model, save_model_files
from forgeline.tokenization.loading import load_tokenizer
from forgeline.training.params.reward import RewardParams
from forgeline.training.reward import reward_margins, scalar_head, sequence_rewards, train_reward
from forgeline.training.trl.pairs import render_pairs
from forgeline.training.trl.trainer import arrange


def reward_params(**changes) -> RewardParams:
    return RewardParams(**{**BATCHES, "margin_weight": 0.0, **changes})


@pytest.fixture
def classifier(chat_model):
    return scalar_head(load_model(chat_model, torch.device("cpu")), load_tokenizer(chat_model), 3).eval()


def test_the_reward_is_the_head_on_the_last_token(chat_model, classifier, context):
    sequences = [[2, 50, 60, 3], [2, 50, 60, 70, 80, 3], [2, 3]]
    model = load_model(chat_model, context.device)
    expected = []
    with torch.no_grad():
        for ids in sequences:
            hidden = model.model(torch.tensor([ids])).last_hidden_state[0, -1]
            expected.append(float(hidden @ classifier.score.weight[0]))
    assert sequence_rewards(classifier, sequences, context).tolist() == pytest.approx(expected, abs=1e-5)


def test_the_first_loss_follows_the_formula(chat_model, classifier, context, pairs):
    params = reward_params(num_steps=1)
    result = train_reward(chat_model, pairs, pairs, pairs, params, context)
    rows = render_pairs(result.tokenizer, pairs, params.max_length)
    step = [rows[index] for index in arrange([row.length for row in rows], params)]
    margins = reward_margins(classifier, step, context)
    assert result.history[-1]["train_loss"] == pytest.approx(float(torch.log1p(torch.exp(-margins)).mean()), rel=1e-5)


def test_grade_margins_are_asked_for_in_the_loss(chat_model, classifier, context, pairs):
    graded = [replace(pair, margin=float(number % 3)) for number, pair in enumerate(pairs)]
    params = reward_params(num_steps=1, margin_weight=0.5)
    result = train_reward(chat_model, graded, graded, graded, params, context)
    rows = render_pairs(result.tokenizer, graded, params.max_length)
    step = [rows[index] for index in arrange([row.length for row in rows], params)]
    asked = torch.tensor([0.5 * row.pair.margin for row in step])
    margins = reward_margins(classifier, step, context) - asked
    assert result.history[-1]["train_loss"] == pytest.approx(float(torch.log1p(torch.exp(-margins)).mean()), rel=1e-5)


def test_margins_that_nothing_has_are_an_error(chat_model, context, pairs):
    with pytest.raises(DataError, match=r"margin_weight is 0\.5, but no training pair has a margin: set it to 0"):
        train_reward(chat_model, pairs, pairs, pairs, reward_params(margin_weight=0.5), context)


def test_it_learns_and_reports_with_denominators(chat_model, context, pairs):
    result = train_reward(chat_model, pairs, pairs[:2], pairs, reward_params(num_steps=40), context)
    accuracy = result.figures["test"]["pair_accuracy"]
    assert (accuracy["value"], accuracy["n"], accuracy["baseline"]) == (1.0, 6, 0.5)
    margin = result.figures["test"]["mean_margin"]
    assert (margin["value"] > margin["low"] > 1, margin["n"], margin["interval"]) == (True, 6, "bootstrap")
    assert result.counts.as_json() == {"in": 14, "out": 14, "dropped": {"too_long": 0}}


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bytes(chat_model, context, pairs, tmp_path):
    params = reward_params()
    calm = train_reward(chat_model, pairs, pairs, pairs, params, replace(context, scratch=tmp_path / "calm"))
    with pytest.raises(Killed):
        train_reward(chat_model, pairs, pairs, pairs, params, replace(context, log=killer(5)))
    torch.manual_seed(99)
    resumed = train_reward(chat_model, pairs, pairs, pairs, params, context)
    assert (resumed.history, resumed.figures) == (calm.history, calm.figures)
    for name, result in (("a", resumed), ("b", calm)):
        save_model_files(result.model, result.tokenizer, tmp_path / name)
    assert files(tmp_path / "a") == files(tmp_path / "b")
