"""sft: labels are the assistant's words, the loss is that of transformers, and inference asks what training saw."""

import pytest
import torch

from forgeline.tokenization.chat import render_conversation, render_prompt
from forgeline.training.order import record_order
from tests.clone import Clone
from tests.pipeline.models import answered, nll, plain_model, plain_tokenizer
from tests.pipeline.outputs import curve, history, params, rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def watched(smoke: Clone) -> list[tuple[list[int], int]]:
    """The validation conversations the loss is watched on: ids, and where the answer starts."""
    knobs = params(smoke)["sft"]
    tokenizer = plain_tokenizer(smoke, "sft")
    found = rows(smoke, "data/instructions/validation.parquet")
    chats = [answered(tokenizer, row["messages"][:-1], row["messages"][-1]["content"]) for row in found]
    chats = [chat for chat in chats if len(chat[0]) <= knobs["max_length"]]
    order = record_order(len(chats), len(chats), knobs["seed"])[: knobs["eval_conversations"]]
    return [chats[index] for index in order]


@pytest.mark.parametrize(("model", "moment"), [("base", "before"), ("sft", "final")])
def test_the_validation_loss_is_that_of_transformers(
    smoke: Clone, watched: list[tuple[list[int], int]], model: str, moment: str
) -> None:
    network = plain_model(smoke, model)
    num_tokens = sum(len(ids) - first for ids, first in watched)
    loss = sum(nll(network, ids, first, "bf16") for ids, first in watched) / num_tokens
    assert smoke.metrics("sft")[moment]["validation_loss"] == pytest.approx(loss, abs=5e-3)


def test_it_learns(smoke: Clone) -> None:
    figures = smoke.metrics("sft")
    assert figures["final"]["validation_loss"] < figures["before"]["validation_loss"] - 0.1
    losses = [value for _, value in curve(smoke, "sft", "train_loss")]
    assert losses[-1] < losses[0]


def test_supervised_tokens_are_those_of_the_answers(smoke: Clone) -> None:
    knobs = params(smoke)["sft"]
    tokenizer = plain_tokenizer(smoke, "sft")
    found = rows(smoke, "data/instructions/train.parquet")
    chats = [answered(tokenizer, row["messages"][:-1], row["messages"][-1]["content"]) for row in found]
    chats = [chat for chat in chats if len(chat[0]) <= knobs["max_length"]]
    drawn = knobs["num_steps"] * knobs["micro_batch_size"] * knobs["gradient_accumulation_steps"]
    order = record_order(len(chats), drawn, knobs["seed"])
    figures = smoke.metrics("sft")
    assert figures["num_supervised_tokens"] == sum(len(chats[index][0]) - chats[index][1] for index in order)
    assert figures["num_train_conversations"] == len(chats)
    assert figures["num_epochs"] == pytest.approx(drawn / len(chats))


def test_all_weights_are_trained(smoke: Clone) -> None:
    before, after = plain_model(smoke, "base").state_dict(), plain_model(smoke, "sft").state_dict()
    assert before.keys() == after.keys()
    assert [name for name in before if torch.equal(before[name], after[name])] == []
    assert smoke.metrics("sft")["trainable_share"] == 1.0


def test_the_curve_has_every_step(smoke: Clone) -> None:
    knobs = params(smoke)["sft"]
    assert [int(row["step"]) for row in history(smoke, "sft")] == list(range(knobs["num_steps"] + 1))
    measured = [step for step, _ in curve(smoke, "sft", "validation_loss")]
    assert measured == [0, *range(knobs["eval_every_steps"], knobs["num_steps"] + 1, knobs["eval_every_steps"])]
    assert max(value for _, value in curve(smoke, "sft", "learning_rate")) == pytest.approx(knobs["learning_rate"])


def test_what_inference_asks_is_a_prefix_of_what_training_would_see(smoke: Clone) -> None:
    tokenizer = plain_tokenizer(smoke, "sft")
    questions = rows(smoke, "data/instructions/test.parquet")
    assert questions
    for row in questions:
        for answer in (row["reference"], "", "\n\n no", "1"):
            prompt = render_prompt(tokenizer, row["prompt"])
            seen = render_conversation(tokenizer, [*row["prompt"], {"role": "assistant", "content": answer}])
            assert seen.input_ids[: len(prompt)] == prompt
            assert seen.assistant_mask == [0] * len(prompt) + [1] * (len(seen.input_ids) - len(prompt))
            assert (seen.input_ids, len(prompt)) == answered(tokenizer, row["prompt"], answer)


def test_training_conversations_render_to_their_prompt_and_answer(smoke: Clone) -> None:
    tokenizer = plain_tokenizer(smoke, "sft")
    for row in rows(smoke, "data/instructions/train.parquet")[::10]:
        *prompt, answer = row["messages"]
        seen = render_conversation(tokenizer, row["messages"])
        start = len(render_prompt(tokenizer, prompt))
        assert tokenizer.decode(seen.input_ids[start:]) == f"{answer['content']}<|im_end|>"
