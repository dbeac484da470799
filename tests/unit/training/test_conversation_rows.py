"""Rows of tokens: what truncation keeps, how rows are packed, and that neighbours in a row do not matter."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.training.toys import SFT, chat
from transformers import PhiConfig, PhiForCausalLM

from forgeline.core.errors import DataError, ParamsError
from forgeline.core.records import Conversation
from forgeline.model.loading import load_model, save_model_files
from forgeline.tokenization.chat import RenderedChat, render_conversation
from forgeline.training.conversation_rows import cut_answer, joined, labelled, pack
from forgeline.training.packed_batches import PackedCollator
from forgeline.training.params.sft import SftParams
from forgeline.training.sft import train_sft
from forgeline.training.trl.held_out import IGNORED, Labelled


def sft_params(**changes) -> SftParams:
    return SftParams(**{**SFT, **changes})


def made(*messages: dict) -> Conversation:
    return Conversation.make("toy", "", "", list(messages))


def test_cut_answers_by_hand() -> None:
    chat = RenderedChat([1, 2, 3, 4, 5, 6, 7, 8, 9], [0, 0, 1, 1, 1, 0, 0, 1, 1])
    assert cut_answer(chat, 8) == RenderedChat([1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 1, 1, 1, 0, 0, 1])
    for length in (5, 6, 7):  # the second turn goes as a whole: its header alone teaches nothing
        assert cut_answer(chat, length) == RenderedChat([1, 2, 3, 4, 5], [0, 0, 1, 1, 1])
    assert cut_answer(chat, 3) == RenderedChat([1, 2, 3], [0, 0, 1])
    assert cut_answer(chat, 2) is None


@given(st.lists(st.integers(0, 1), min_size=1, max_size=30), st.integers(1, 30))
@settings(max_examples=200)
def test_a_cut_is_the_longest_beginning_that_ends_with_an_answer(mask: list[int], length: int) -> None:
    cut = cut_answer(RenderedChat(list(range(len(mask))), mask), length)
    ends = [end for end in range(1, min(length, len(mask)) + 1) if mask[end - 1]]
    assert (cut is None) == (not ends)
    if cut is not None:
        assert cut.input_ids == list(range(max(ends)))


def test_answer_end_keeps_the_header_and_does_not_teach_the_end(byte_tokenizer) -> None:
    long = made(*chat("a", "b" * 50))
    whole = render_conversation(byte_tokenizer, long.messages)
    start = whole.assistant_mask.index(1)
    found = labelled(byte_tokenizer, [long], sft_params(max_length=start + 5, truncation="answer_end"))
    assert found.rows[0].input_ids == whole.input_ids[: start + 5]
    assert found.rows[0].labels == [IGNORED] * start + [69] * 5  # b, and no end of turn
    assert (found.num_truncated, dict(found.dropped)) == (1, {})


def test_a_prompt_that_is_too_long_is_dropped_and_counted(byte_tokenizer) -> None:
    short, long = made(*chat("a", "b")), made(*chat("a" * 90, "b"))
    found = labelled(byte_tokenizer, [short, long], sft_params(truncation="answer_end"))
    assert (len(found.rows), dict(found.dropped)) == (1, {"prompt_too_long": 1})
    with pytest.raises(DataError, match=r"none of 1 conversations fits into sft.max_length 96 .*answer_end.*: raise"):
        labelled(byte_tokenizer, [long], sft_params(truncation="answer_end"))


def test_oldest_turns_go_first_and_the_system_prompt_stays(byte_tokenizer) -> None:
    system = {"role": "system", "content": "S"}
    turns = [*chat("a" * 30, "b"), *chat("c", "d"), *chat("e", "f")]
    kept = render_conversation(byte_tokenizer, [system, *turns[2:]])
    params = sft_params(max_length=len(kept.input_ids) + 20, truncation="oldest_turns")
    found = labelled(byte_tokenizer, [made(system, *turns)], params)
    assert found.rows[0].input_ids == kept.input_ids
    assert found.num_truncated == 1
    nothing = sft_params(max_length=20, truncation="oldest_turns")
    with pytest.raises(DataError, match="oldest_turns"):
        labelled(byte_tokenizer, [made(system, *turns)], nothing)


LENGTHS = st.lists(st.integers(1, 16), min_size=1, max_size=40)


@given(LENGTHS)
@settings(max_examples=200)
def test_packing_keeps_every_row_once_and_overfills_none(lengths: list[int]) -> None:
    packs = pack([Labelled([0] * length, [0] * length) for length in lengths], 16)
    assert sorted(index for members in packs for index in members) == list(range(len(lengths)))
    filled = [sum(lengths[index] for index in members) for members in packs]
    assert max(filled) <= 16
    # best fit: no two rows would go into one
    assert len(filled) < 2 or sorted(filled)[0] + sorted(filled)[1] > 16


def test_packed_rows_by_hand() -> None:
    row, positions = joined([Labelled([5, 6, 7], [5, 6, 7]), Labelled([8, 9], [IGNORED, 9])])
    assert row == Labelled([5, 6, 7, 8, 9], [IGNORED, 6, 7, IGNORED, 9])
    assert positions == [0, 1, 2, 0, 1]
    batch = PackedCollator()(
        [
            {"input_ids": row.input_ids, "labels": row.labels, "position_ids": positions},
            {"input_ids": [3], "labels": [IGNORED], "position_ids": [0]},
        ]
    )
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9, 3]]
    assert batch["labels"].tolist() == [[-100, 6, 7, -100, 9, -100]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0]]
    assert batch["cu_seq_lens_q"].tolist() == batch["cu_seq_lens_k"].tolist() == [0, 3, 5, 6]
    assert batch["max_length_q"] == batch["max_length_k"] == 3
    assert "attention_mask" not in batch


@pytest.fixture
def biased_head(tokenizer, tmp_path):
    """The folder of a Phi, whose output head has a bias, so the loss is taken from its own logits."""
    torch.manual_seed(2)
    tokens = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = PhiConfig(vocab_size=len(tokenizer), max_position_embeddings=128, resid_pdrop=0.0, **sizes, **tokens)
    save_model_files(PhiForCausalLM(config), tokenizer, tmp_path / "phi")
    return tmp_path / "phi"


@pytest.mark.parametrize("folder", ["chat_model", "biased_head"])
def test_a_packed_step_has_the_loss_and_gradient_of_its_conversations(folder, context, conversations, request) -> None:
    base = request.getfixturevalue(folder)
    params = sft_params(packing=True, num_steps=1, warmup_steps=0, micro_batch_size=5, gradient_accumulation_steps=1)
    result = train_sft(base, conversations, conversations, params, context)
    assert result.figures["num_rows"] == 5 < len(conversations)  # so the step holds them all
    rows = labelled(result.tokenizer, conversations, params).rows
    total = sum(row.num_supervised for row in rows)
    assert result.figures["num_supervised_tokens"] == total
    model = load_model(base, context.device)
    loss = 0.0
    for row in rows:
        mean = model(torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])).loss
        (mean * row.num_supervised / total).backward()
        loss += float(mean.detach()) * row.num_supervised
    assert result.history[-1]["train_loss"] == pytest.approx(loss / total, rel=1e-5)
    norm = torch.nn.utils.get_total_norm(weights.grad for weights in model.parameters())
    assert result.history[-1]["grad_norm"] == pytest.approx(float(norm), rel=1e-4)


def test_packing_is_refused_where_the_model_mixes_neighbours(tokenizer, context, conversations, tmp_path) -> None:
    from transformers import BloomConfig, BloomForCausalLM

    tokens = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = BloomConfig(vocab_size=len(tokenizer), hidden_size=16, n_layer=1, n_head=2, **tokens)
    save_model_files(BloomForCausalLM(config), tokenizer, tmp_path / "bloom")
    with pytest.raises(ParamsError, match=r"sft.packing: this architecture does not keep the documents"):
        train_sft(tmp_path / "bloom", conversations, conversations, sft_params(packing=True), context)


def test_neftune_changes_training_alone(chat_model, context, conversations, tmp_path) -> None:
    results = [
        train_sft(
            chat_model,
            conversations,
            conversations,
            sft_params(neftune_alpha=alpha, num_steps=1, warmup_steps=0),
            replace(context, scratch=tmp_path / str(alpha)),
        )
        for alpha in (None, 20.0)
    ]
    assert results[0].figures["before"] == results[1].figures["before"]
    assert results[0].history[1]["train_loss"] != results[1].history[1]["train_loss"]
    ids = torch.tensor([[2, 50, 60]])
    model = results[1].model.train()
    assert torch.equal(model(ids).logits, model(ids).logits)  # the noise is off again


def test_the_best_weights_are_those_of_their_step(chat_model, context, conversations, tmp_path) -> None:
    # after two good steps the learning rate ruins the model
    params = sft_params(num_steps=6, eval_every_steps=1, learning_rate=0.3, schedule="constant", warmup_steps=0)
    last = train_sft(chat_model, conversations, conversations, params, replace(context, scratch=tmp_path / "last"))
    best_params = params.model_copy(update={"final_weights": "best"})
    best = train_sft(chat_model, conversations, conversations, best_params, context)
    losses = {row["step"]: row["validation_loss"] for row in last.history if row["step"]}
    step = min(losses, key=losses.get)
    assert step < 6
    assert best.figures["final"]["step"] == step
    assert best.figures["final"]["validation_loss"] == losses[step]
    shorter = params.model_copy(update={"num_steps": step})
    until = train_sft(chat_model, conversations, conversations, shorter, replace(context, scratch=tmp_path / "until"))
    for one, other in zip(best.model.parameters(), until.model.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_samples_are_answered_before_and_after(chat_model, context, conversations) -> None:
    params = sft_params(num_steps=60, sample_conversations=2, sample_tokens=20)
    samples = train_sft(chat_model, conversations, conversations, params, context).figures["generations"]
    asked = {conversation.messages[0]["content"]: conversation.messages[1]["content"] for conversation in conversations}
    assert len(samples) == 2
    assert all(asked[sample["question"]] == sample["reference"] for sample in samples)
    assert [sample["after"] for sample in samples] == [sample["reference"] for sample in samples]
    assert all(sample["before"] != sample["after"] for sample in samples)
    assert load_model(chat_model, context.device) is not None


def test_the_end_of_turn_is_learned(chat_model, context, conversations) -> None:
    result = train_sft(chat_model, conversations, conversations, sft_params(num_steps=60), context)
    chat_ids = render_conversation(result.tokenizer, conversations[0].messages).input_ids
    with torch.no_grad():
        logits = result.model.eval()(torch.tensor([chat_ids[:-1]])).logits
    assert int(logits[0, -1].argmax()) == chat_ids[-1] == result.tokenizer.eos_token_id
