import math
from dataclasses import replace

import pytest
import torch
from tests.unit.training.toys import BATCHES, LORA, Killed, chat, files, killer
from transformers import LlamaForCausalLM

from forgeline.core.records import PreferencePair
from forgeline.model.loading import load_model, save_model_files
from forgeline.tokenization.loading import load_tokenizer
from forgeline.training.dpo import train_dpo
from forgeline.training.params.dpo import DpoParams
from forgeline.training.trl.pairs import render_pairs
from forgeline.training.trl.preference import HeldOutPairs
from forgeline.training.trl.trainer import arrange

KNOBS = {
    "method": "dpo",
    "loss": "sigmoid",
    "label_smoothing": 0.0,
    "beta": 0.5,
    "sft_weight": 0.0,
    "max_new_tokens": 4,
}


def dpo_params(**changes) -> DpoParams:
    return DpoParams(**{**BATCHES, "lora": LORA, **KNOBS, **changes})


def test_pairs_by_hand(byte_tokenizer):
    pair = PreferencePair.make("toy", "", "", chat("a", "")[:1], "b", "")
    (rendered,) = render_pairs(byte_tokenizer, [pair], 64)
    user, assistant = (byte_tokenizer.encode(text) for text in ("user\na", "assistant\n"))
    assert rendered.prompt_ids == [2, *user, 3, *byte_tokenizer.encode("\n"), 2, *assistant]
    assert (rendered.chosen_ids, rendered.rejected_ids) == ([69, 3], [3])
    assert rendered.length == len(rendered.prompt_ids) + 2


def test_losses_follow_the_formula(chat_model, context, pairs, tmp_path):
    values = {"schedule": "constant", "warmup_steps": 0, "learning_rate": 0.05}
    params = dpo_params(num_steps=2, micro_batch_size=3, **values)
    result = train_dpo(chat_model, pairs, pairs, params, context)
    assert result.history[0]["train_loss"] == pytest.approx(math.log(2), rel=1e-5)  # policy and reference agree
    shorter = params.model_copy(update={"num_steps": 1})
    policy = train_dpo(chat_model, pairs, pairs, shorter, replace(context, scratch=tmp_path / "one")).model.eval()
    rows = render_pairs(load_tokenizer(chat_model), pairs, params.max_length)
    reference, losses = LlamaForCausalLM.from_pretrained(chat_model), []
    for row in (rows[index] for index in arrange([row.length for row in rows], params)[6:]):
        chosen, rejected = (
            answer_logp(policy, row.prompt_ids, answer) - answer_logp(reference, row.prompt_ids, answer)
            for answer in (row.chosen_ids, row.rejected_ids)
        )
        losses.append(math.log1p(math.exp(-params.beta * (chosen - rejected))))
    assert result.history[1]["train_loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    assert result.history[1]["train_loss"] < 0.69


def test_the_chosen_answers_own_loss_is_added_per_token(chat_model, context, pairs):
    batch = {"num_steps": 1, "micro_batch_size": 6, "gradient_accumulation_steps": 1}
    result = train_dpo(chat_model, pairs, pairs, dpo_params(sft_weight=2.0, **batch), context)
    rows = render_pairs(load_tokenizer(chat_model), pairs, 96)
    reference = LlamaForCausalLM.from_pretrained(chat_model)
    nats = -sum(answer_logp(reference, row.prompt_ids, row.chosen_ids) for row in rows)
    per_token = nats / sum(len(row.chosen_ids) for row in rows)
    assert result.history[0]["train_loss"] == pytest.approx(math.log(2) + 2.0 * per_token, rel=1e-4)


def answer_logp(model, prompt_ids, answer_ids) -> float:
    ids = [*prompt_ids, *answer_ids]
    with torch.no_grad():
        rows = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(rows[position - 1, ids[position]]) for position in range(len(prompt_ids), len(ids)))


def test_log_ratios_are_sums_over_the_answers(chat_model, context, pairs):
    model = load_model(chat_model, context.device)
    rows = render_pairs(load_tokenizer(chat_model), pairs, 96)
    expected = [
        answer_logp(model, row.prompt_ids, row.chosen_ids) - answer_logp(model, row.prompt_ids, row.rejected_ids)
        for row in rows
    ]
    compared = HeldOutPairs(model, rows, context).compare(model)
    assert compared.policy.difference.tolist() == pytest.approx(expected, abs=1e-4)
    assert compared.margins.tolist() == [0.0] * len(rows)


@pytest.mark.slow
def test_it_learns_to_prefer_and_reports_with_denominators(chat_model, context, pairs):
    result = train_dpo(chat_model, pairs, pairs, dpo_params(num_steps=60, learning_rate=0.03), context)
    scores = result.figures["validation"]
    assert scores["reward_accuracy"]["value"] == 1.0
    assert scores["reward_accuracy"]["n"] == 6
    assert scores["reward_accuracy"]["low"] == pytest.approx(0.6097, abs=1e-3)  # Wilson, 6 of 6
    assert scores["reward_margin"]["value"] > 0.5
    # a random model answers nothing right, before or after: all ties, over the three different prompts
    win_rate = scores["win_rate_over_reference"]
    assert (win_rate["value"], win_rate["n"], win_rate["baseline"]) == (0.5, 3, 0.5)
    assert result.counts.as_json() == {"in": 12, "out": 12, "dropped": {"too_long": 0}}


def test_without_verifiable_prompts_there_is_no_win_rate(chat_model, context, pairs):
    prose = [PreferencePair.make("toy", "", "", pair.prompt, "yes", "no") for pair in pairs[:2]]
    result = train_dpo(chat_model, pairs, prose, dpo_params(num_steps=1), context)
    assert result.figures["validation"]["win_rate_over_reference"] is None


def test_the_reference_stays_the_parent(chat_model, context, pairs):
    before = {
        name: weights.clone() for name, weights in LlamaForCausalLM.from_pretrained(chat_model).named_parameters()
    }
    result = train_dpo(chat_model, pairs, pairs, dpo_params(), context)
    plain = result.model.unload()
    for name, weights in plain.named_parameters():
        assert torch.equal(weights, before[name]), name
    assert list(result.model.peft_config) == ["default"]


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bytes(chat_model, context, pairs, tmp_path):
    params = dpo_params(lora={**LORA, "dropout": 0.2})
    calm = train_dpo(chat_model, pairs, pairs, params, replace(context, scratch=tmp_path / "calm"))
    with pytest.raises(Killed):
        train_dpo(chat_model, pairs, pairs, params, replace(context, log=killer(5)))
    torch.manual_seed(99)
    resumed = train_dpo(chat_model, pairs, pairs, params, context)
    assert (resumed.history, resumed.figures) == (calm.history, calm.figures)
    for name, result in (("a", resumed), ("b", calm)):
        save_model_files(result.model, result.tokenizer, tmp_path / name)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert "adapter_model.safetensors" in files(tmp_path / "a")
