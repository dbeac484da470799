"""DPO's other losses, ORPO and KTO: formulas by hand and by libraries, exact resume, and what plain peft loads."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from tests.unit.training.test_dpo import answer_logp, dpo_params
from tests.unit.training.toys import BATCHES, LORA, Killed, files, killer
from transformers import LlamaForCausalLM

from forgeline.core.errors import DataError
from forgeline.core.records import PreferencePair
from forgeline.model.loading import load_model, save_model_files
from forgeline.tokenization.loading import load_tokenizer
from forgeline.training.dpo import pair_losses, total_loss, train_dpo
from forgeline.training.kto import examples, kto_loss, mismatched, train_kto
from forgeline.training.orpo import log_odds, orpo_losses, train_orpo
from forgeline.training.params.kto import KtoParams
from forgeline.training.params.orpo import OrpoParams
from forgeline.training.trl.held_out import divergence_from_reference
from forgeline.training.trl.pairs import render_pairs
from forgeline.training.trl.preference import AnswerLogps, Compared, answer
from forgeline.training.trl.trainer import arrange

STILL = {"schedule": "constant", "warmup_steps": 0, "learning_rate": 0.05}


def orpo_params(**changes) -> OrpoParams:
    return OrpoParams(
        **{**BATCHES, "lora": LORA, "method": "orpo", "odds_ratio_weight": 0.5, "max_new_tokens": 4, **changes}
    )


def kto_params(**changes) -> KtoParams:
    weights = {"beta": 0.5, "desirable_weight": 1.5, "undesirable_weight": 1.0}
    return KtoParams(**{**BATCHES, "lora": LORA, "method": "kto", **weights, "max_new_tokens": 4, **changes})


TRAINERS = {"dpo": (train_dpo, dpo_params), "orpo": (train_orpo, orpo_params), "kto": (train_kto, kto_params)}


def by_hand(chosen, rejected, chosen_reference, rejected_reference, lengths=(1, 1)) -> Compared:
    tokens = [torch.tensor([float(length)], dtype=torch.float64) for length in lengths]
    policy, reference = (
        AnswerLogps(torch.tensor([better]).double(), torch.tensor([worse]).double(), *tokens)
        for better, worse in ((chosen, rejected), (chosen_reference, rejected_reference))
    )
    return Compared(policy, reference)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"loss": "sigmoid"}, math.log1p(math.exp(-1.5))),
        ({"loss": "hinge", "beta": 0.25}, 1 - 0.75),
        ({"loss": "hinge"}, 0.0),
        ({"loss": "ipo"}, (2.0 / 4 + 1.0 / 2 - 1.0) ** 2),
        (
            {"loss": "sigmoid", "label_smoothing": 0.2},
            (0.8 * math.log1p(math.exp(-1.5)) - 0.2 * math.log1p(math.exp(1.5))) / 0.6,
        ),
    ],
)
def test_dpo_losses_by_hand(changes, expected) -> None:
    """Log-ratios of 2 over four tokens and of -1 over two."""
    compared = by_hand(-3.0, -6.0, -5.0, -5.0, lengths=(4, 2))
    assert compared.margins.tolist() == [3.0]
    assert pair_losses(compared, dpo_params(**changes)).tolist() == pytest.approx([expected])


def test_the_whole_dpo_loss_by_hand() -> None:
    """The chosen answer has -3 nats over four tokens: 0.75 a token, with weight 2."""
    compared = by_hand(-3.0, -6.0, -5.0, -5.0, lengths=(4, 2))
    expected = math.log1p(math.exp(-1.5)) + 2 * 0.75
    assert float(total_loss(compared, dpo_params(loss="sigmoid", sft_weight=2.0))) == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"loss": "ipo"}, {"loss": "hinge"}, {"label_smoothing": 0.2}])
def test_dpo_trains_on_the_loss_it_reports(chat_model, context, pairs, tmp_path, changes) -> None:
    """TRL's loss of the second step is ours of the policy after the first."""
    params = dpo_params(num_steps=2, micro_batch_size=3, **STILL, **changes)
    result = train_dpo(chat_model, pairs, pairs, params, context)
    shorter = params.model_copy(update={"num_steps": 1})
    policy = train_dpo(chat_model, pairs, pairs, shorter, replace(context, scratch=tmp_path / "one")).model.eval()
    reference = LlamaForCausalLM.from_pretrained(chat_model)
    rows = render_pairs(load_tokenizer(chat_model), pairs, params.max_length)
    losses = []
    for row in (rows[index] for index in arrange([row.length for row in rows], params)[6:]):
        logps = [
            answer_logp(model, row.prompt_ids, ids)
            for model in (policy, reference)
            for ids in (row.chosen_ids, row.rejected_ids)
        ]
        compared = by_hand(*logps, lengths=(len(row.chosen_ids), len(row.rejected_ids)))
        losses.append(float(pair_losses(compared, params)))
    assert result.history[1]["train_loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-3)


def test_orpo_by_hand() -> None:
    """Hong et al. 2024, eq. 6 and 7, with P = 1/2 and 1/5: the odds are 1 and 1/4."""
    chosen, rejected = torch.tensor([0.5]).log(), torch.tensor([0.2]).log()
    assert float(orpo_losses(chosen, rejected, 0.3)) == pytest.approx(math.log(2) - 0.3 * math.log(4 / 5))


def test_orpo_agrees_with_the_one_of_trl() -> None:
    orpo = pytest.importorskip("trl.experimental.orpo.orpo_trainer")
    chosen, rejected = -torch.rand(64) * 4 - 1e-3, -torch.rand(64) * 4 - 1e-3
    theirs = SimpleNamespace(beta=0.7, accelerator=SimpleNamespace(device="cpu"))
    losses = orpo.ORPOTrainer.odds_ratio_loss(theirs, chosen, rejected)[0]
    torch.testing.assert_close(orpo_losses(chosen, rejected, 0.7), -chosen - losses)


@given(st.floats(-60, -1e-6))
def test_log_odds_and_their_slope_are_numbers_everywhere(logp: float) -> None:
    value = torch.tensor(logp, dtype=torch.float64, requires_grad=True)
    odds = log_odds(value)
    odds.backward()
    assert float(odds.detach()) == pytest.approx(logp - math.log(-math.expm1(logp)), rel=1e-12)
    assert float(value.grad) == pytest.approx(-1 / math.expm1(logp), rel=1e-9)  # 1 / (1 - P)


def test_orpo_starts_at_the_formula_whatever_the_micro_batches_are(chat_model, context, pairs, tmp_path) -> None:
    model = LlamaForCausalLM.from_pretrained(chat_model)
    params = orpo_params(num_steps=2, **STILL)
    rows = render_pairs(load_tokenizer(chat_model), pairs, params.max_length)
    means = [
        [answer_logp(model, row.prompt_ids, ids) / len(ids) for ids in (row.chosen_ids, row.rejected_ids)]
        for row in (rows[index] for index in arrange([row.length for row in rows], params)[: params.batch_size])
    ]
    chosen, rejected = torch.tensor(means).T
    result = train_orpo(chat_model, pairs, pairs, params, context)
    expected = float(orpo_losses(chosen, rejected, params.odds_ratio_weight).mean())
    assert result.history[0]["train_loss"] == pytest.approx(expected, rel=1e-4)
    ratio = float((log_odds(chosen) - log_odds(rejected)).mean())
    assert result.history[0]["train_log_odds_ratio"] == pytest.approx(ratio, abs=1e-4)
    whole = params.model_copy(update={"micro_batch_size": 4, "gradient_accumulation_steps": 1})
    other = train_orpo(chat_model, pairs, pairs, whole, replace(context, scratch=tmp_path / "whole"))
    assert other.history[1]["train_loss"] == pytest.approx(result.history[1]["train_loss"], rel=1e-4)


def test_kto_by_hand() -> None:
    """Ethayarajh et al. 2024, eq. 7: rewards of 2 and -1, the divergence 1/2, β 1/2, weights 1.5 and 1."""
    compared = by_hand(-3.0, -6.0, -5.0, -5.0)
    desirable, undesirable = (1 - 1 / (1 + math.exp(-0.5 * value)) for value in (2 - 0.5, 0.5 + 1))
    loss = kto_loss(compared, torch.tensor(0.5), kto_params())
    assert float(loss) == pytest.approx((1.5 * desirable + undesirable) / 2)


def test_kto_compares_with_answers_to_other_prompts() -> None:
    batch = [([1], [10], True), ([1], [11], False), ([2], [12], True), ([3], [13], False)]
    assert mismatched(batch) == [[13], [13], [11], [12]]
    assert mismatched([([1], [10], True), ([1], [11], False)]) == [[11], [10]]


def test_kto_trains_on_the_formula(chat_model, context, pairs, tmp_path) -> None:
    params = kto_params(num_steps=2, micro_batch_size=3, **STILL)
    result = train_kto(chat_model, pairs, pairs, params, context)
    shorter = params.model_copy(update={"num_steps": 1})
    policy = train_kto(chat_model, pairs, pairs, shorter, replace(context, scratch=tmp_path / "one")).model.eval()
    reference = LlamaForCausalLM.from_pretrained(chat_model)
    found = examples(render_pairs(load_tokenizer(chat_model), pairs, params.max_length))
    order = arrange([len(prompt) + len(ids) for prompt, ids, _ in found], params)[6:]
    losses = []
    for batch in ([found[index] for index in order[start : start + 3]] for start in (0, 3)):
        divergence = sum(
            answer_logp(policy, row[0], other) - answer_logp(reference, row[0], other)
            for row, other in zip(batch, mismatched(batch), strict=True)
        ) / len(batch)
        for prompt, ids, is_desirable in batch:
            reward = answer_logp(policy, prompt, ids) - answer_logp(reference, prompt, ids)
            gap = reward - max(divergence, 0.0)
            weight, gap = (params.desirable_weight, gap) if is_desirable else (params.undesirable_weight, -gap)
            losses.append(weight * (1 - 1 / (1 + math.exp(-params.beta * gap))))
    assert result.history[1]["train_loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "changes"), [("orpo", {"odds_ratio_weight": 5.0}), ("kto", {})])
def test_it_learns_and_reports_with_denominators(chat_model, context, pairs, name, changes) -> None:
    train, params = TRAINERS[name]
    result = train(chat_model, pairs, pairs, params(num_steps=60, learning_rate=0.03, **changes), context)
    scores = result.figures["validation"]
    assert scores["reward_accuracy"]["value"] >= 5 / 6
    assert scores["likelihood_accuracy"]["value"] > scores["likelihood_accuracy"]["baseline"]
    assert scores["reward_margin"]["low"] > 0
    assert scores["chosen_perplexity"]["value"] < scores["chosen_perplexity"]["baseline"]
    assert scores["chosen_perplexity"]["value"] < scores["rejected_perplexity"]["value"]
    assert math.isfinite(scores["kl_to_reference"]["value"])
    assert (scores["kl_to_reference"]["n"], scores["win_rate_over_reference"]["n"]) == (3, 3)
    assert result.figures["final"]["validation_kl"] > 0
    assert result.counts.as_json() == {"in": 12, "out": 12, "dropped": {"too_long": 0}}


@pytest.mark.parametrize("name", ["dpo", "orpo", "kto"])
def test_the_reference_is_the_parent_and_not_a_second_model(chat_model, context, pairs, tmp_path, name) -> None:
    """The same weights serve both, and plain peft puts the saved adapter on them."""
    train, params = TRAINERS[name]
    result = train(chat_model, pairs, pairs, params(), context)
    parent = LlamaForCausalLM.from_pretrained(chat_model)
    base = {weights.data_ptr() for key, weights in result.model.named_parameters() if "lora_" not in key}
    assert len(base) == len(list(parent.parameters()))
    ids = torch.arange(24)[None]
    save_model_files(result.model, result.tokenizer, tmp_path / "adapter")
    with torch.no_grad():
        expected = parent(input_ids=ids).logits
        with result.model.eval().disable_adapter():
            torch.testing.assert_close(result.model(input_ids=ids, use_cache=False).logits, expected)
        adapted = result.model(input_ids=ids, use_cache=False).logits
        loaded = PeftModel.from_pretrained(parent, tmp_path / "adapter").eval()
        torch.testing.assert_close(loaded(input_ids=ids).logits, adapted)
    assert not torch.allclose(adapted, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["orpo", "kto"])
def test_a_killed_run_resumes_to_the_same_bytes(chat_model, context, pairs, tmp_path, name) -> None:
    train, make = TRAINERS[name]
    params = make(lora={**LORA, "dropout": 0.2})
    calm = train(chat_model, pairs, pairs, params, replace(context, scratch=tmp_path / "calm"))
    with pytest.raises(Killed):
        train(chat_model, pairs, pairs, params, replace(context, log=killer(5)))
    torch.manual_seed(99)
    resumed = train(chat_model, pairs, pairs, params, context)
    assert (resumed.history, resumed.figures) == (calm.history, calm.figures)
    for folder, result in (("a", resumed), ("b", calm)):
        save_model_files(result.model, result.tokenizer, tmp_path / folder)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_the_divergence_is_that_of_the_distributions(chat_model, context, pairs) -> None:
    result = train_orpo(chat_model, pairs, pairs, orpo_params(num_steps=2, **STILL), context)
    rows = [answer(row.prompt_ids, row.chosen_ids) for row in render_pairs(result.tokenizer, pairs[:3], 96)]
    parent, total, number = load_model(chat_model, context.device), 0.0, 0
    policy = result.model.eval()
    with torch.no_grad():
        for row in rows:
            ids, first = torch.tensor([row.input_ids]), len(row.input_ids) - row.num_supervised - 1
            with policy.disable_adapter():
                reference = policy(input_ids=ids, use_cache=False).logits[0, first:-1].softmax(-1)
            learned = policy(input_ids=ids, use_cache=False).logits[0, first:-1].softmax(-1)
            torch.testing.assert_close(reference, parent(input_ids=ids).logits[0, first:-1].softmax(-1))
            total += float((learned * (learned / reference).log()).sum())
            number += row.num_supervised
    assert divergence_from_reference(policy, rows, context.compute) == pytest.approx(total / number, rel=1e-3)


def test_prompts_that_fill_the_window_are_told(chat_model, context) -> None:
    long = [PreferencePair.make("toy", "", "", [{"role": "user", "content": "x " * 400}], "a", "b")]
    with pytest.raises(DataError, match=r"none of 1 .* fits into max_length 96 .*; 1 have a prompt that fills it\)"):
        train_orpo(chat_model, long, long, orpo_params(), context)


def test_pairs_that_do_not_fit_are_left_out_and_counted(chat_model, context, pairs) -> None:
    long = PreferencePair.make("toy", "", "", [{"role": "user", "content": "x " * 400}], "a", "b")
    result = train_orpo(chat_model, [long, *pairs], pairs, orpo_params(num_steps=1, warmup_steps=0), context)
    assert result.counts.as_json() == {"in": 13, "out": 12, "dropped": {"too_long": 1}}


def test_kto_needs_other_answers_in_a_micro_batch() -> None:
    with pytest.raises(ValueError, match="micro_batch_size 1 leaves no other answer"):
        kto_params(micro_batch_size=1)
