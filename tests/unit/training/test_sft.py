from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.unit.training.toys import PEFT, SFT, Killed, chat, files, killer
from transformers import LlamaForCausalLM

from forgeline.core.errors import DataError, ForgelineError, StopRequested
from forgeline.core.records import Conversation
from forgeline.model.loading import load_model, save_model_files
from forgeline.training.conversation_rows import labelled
from forgeline.training.params.sft import SftParams
from forgeline.training.sft import mean_loss, train_sft
from forgeline.training.trl.held_out import Labelled, label_logps
from forgeline.training.trl.trainer import COMPLETE, arrange, history_rows, newest_checkpoint


def sft_params(**changes) -> SftParams:
    return SftParams(**{**SFT, **changes})


def saved(result, folder: Path) -> dict[str, bytes]:
    save_model_files(result.model, result.tokenizer, folder)
    return files(folder)


def test_labels_by_hand(byte_tokenizer):
    conversation = Conversation.make("toy", "", "", chat("a", "b"))
    # <|im_start|> 2, <|im_end|> 3, then one id per byte
    user, assistant = (byte_tokenizer.encode(text) for text in ("user\na", "assistant\n"))
    newline = byte_tokenizer.encode("\n")
    before = [2, *user, 3, *newline, 2, *assistant]
    (row,) = labelled(byte_tokenizer, [conversation], sft_params()).rows
    assert row == Labelled([*before, 69, 3], [-100] * len(before) + [69, 3])
    (row,) = labelled(byte_tokenizer, [conversation], sft_params(assistant_only_loss=False)).rows
    assert row.labels == row.input_ids


def test_too_long_conversations_are_dropped_whole_and_counted(chat_model, context, conversations):
    too_long = Conversation.make("toy", "", "", chat("x " * 200, "y"))
    result = train_sft(chat_model, [too_long, *conversations], conversations[:2], sft_params(num_steps=1), context)
    assert result.counts.as_json() == {"in": 12, "out": 11, "dropped": {"too_long": 1}}
    with pytest.raises(DataError, match="max_length 96"):
        labelled(result.tokenizer, [too_long], sft_params())


def test_mean_loss_is_over_all_supervised_tokens(chat_model, context):
    rows = [Labelled([2, 50, 60, 70, 3], [-100, -100, 60, 70, 3]), Labelled([2, 80, 90], [-100, -100, 90])]
    model = load_model(chat_model, context.device)
    by_hand = []
    for ids, start in (([2, 50, 60, 70, 3], 2), ([2, 80, 90], 2)):
        with torch.no_grad():
            logps = model(torch.tensor([ids])).logits.log_softmax(-1)[0]
        by_hand.append([float(-logps[position - 1, ids[position]]) for position in range(start, len(ids))])
    assert mean_loss(model, rows, context) == pytest.approx(sum(map(sum, by_hand)) / 4, rel=1e-5)
    assert label_logps(model, rows, context.compute).tolist() == pytest.approx([-sum(r) for r in by_hand], rel=1e-5)


def test_first_step_loss_is_that_of_the_whole_step(chat_model, context, conversations):
    params = sft_params(num_steps=1, warmup_steps=0)
    result = train_sft(chat_model, conversations, conversations, params, context)
    model = LlamaForCausalLM.from_pretrained(chat_model)
    rows = labelled(result.tokenizer, conversations, params).rows
    step = [rows[index] for index in arrange([len(row.input_ids) for row in rows], params)]
    assert len(step) == 4
    total, count = 0.0, 0
    for row in step:  # transformers shifts and averages by itself
        supervised = sum(label != -100 for label in row.labels)
        with torch.no_grad():
            loss = model(torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])).loss
        total, count = total + float(loss) * supervised, count + supervised
    assert result.history[-1]["train_loss"] == pytest.approx(total / count, rel=1e-5)


def test_a_step_does_not_depend_on_how_it_is_cut(chat_model, context, conversations, tmp_path):
    results = []
    for size, accumulation in ((4, 1), (1, 4)):
        params = sft_params(micro_batch_size=size, gradient_accumulation_steps=accumulation)
        here = replace(context, scratch=tmp_path / str(size))
        results.append(train_sft(chat_model, conversations, conversations, params, here))
    for one, other in zip(results[0].model.parameters(), results[1].model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("peft", ["none", "lora", "dora", "vera"])
def test_a_killed_run_resumes_to_the_same_bytes(chat_model, context, conversations, tmp_path, peft):
    dropout = {} if peft == "none" else {"dropout": 0.2}
    params = sft_params(peft={**PEFT[peft], **dropout}, packing=peft == "dora", neftune_alpha=5.0, final_weights="best")
    calm = train_sft(chat_model, conversations, conversations, params, replace(context, scratch=tmp_path / "calm"))
    with pytest.raises(Killed):
        train_sft(chat_model, conversations, conversations, params, replace(context, log=killer(5)))
    assert newest_checkpoint(context.scratch).name == "checkpoint-4"
    torch.manual_seed(99)  # a new process starts elsewhere
    resumed = train_sft(chat_model, conversations, conversations, params, context)
    assert resumed.history == calm.history
    assert resumed.figures == calm.figures
    assert saved(resumed, tmp_path / "a") == saved(calm, tmp_path / "b")


def test_a_run_killed_after_the_last_checkpoint_has_nothing_left_to_train(chat_model, context, conversations, tmp_path):
    first = train_sft(chat_model, conversations, conversations, sft_params(), context)
    again = train_sft(chat_model, conversations, conversations, sft_params(), context)
    assert again.history == first.history
    assert saved(again, tmp_path / "a") == saved(first, tmp_path / "b")


def test_sigterm_saves_a_checkpoint_and_says_how_to_go_on(chat_model, context, conversations):
    import os
    import signal

    def log(step, figures):
        if step == 3 and "validation_loss" in figures:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StopRequested, match="checkpoint at step 3 saved; run the same command to resume"):
        train_sft(chat_model, conversations, conversations, sft_params(), replace(context, log=log))
    result = train_sft(chat_model, conversations, conversations, sft_params(), context)
    assert [row["step"] for row in result.history] == list(range(7))


def test_lora_trains_the_adapter_alone_and_names_its_parent(chat_model, context, conversations, tmp_path):
    result = train_sft(chat_model, conversations, conversations, sft_params(peft=PEFT["lora"]), context)
    # q: 2 x (16 + 16), v: 2 x (16 + 8), down: 2 x (24 + 16), in 2 layers
    assert result.figures["num_trainable_parameters"] == 2 * (64 + 48 + 80)
    save_model_files(result.model, result.tokenizer, tmp_path / "adapter")
    config = (tmp_path / "adapter" / "adapter_config.json").read_text()
    assert f'"base_model_name_or_path": "{chat_model.as_posix()}"' in config
    assert config.index('"down_proj"') < config.index('"q_proj"') < config.index('"v_proj"')
    ids = torch.tensor([[2, 50, 60, 70]])
    trained = result.model.eval()(ids).logits
    torch.testing.assert_close(load_model(tmp_path / "adapter", context.device)(ids).logits, trained)


def test_it_learns(chat_model, context, conversations):
    result = train_sft(
        chat_model, conversations, conversations, sft_params(num_steps=60, eval_conversations=9), context
    )
    assert result.figures["before"]["validation_loss"] > 4
    assert result.figures["final"]["validation_loss"] < 1.5


def test_a_loss_that_is_no_number_stops_the_run(chat_model, context, conversations):
    with pytest.raises(ForgelineError, match=r"loss became (nan|inf).*lower learning_rate"):
        train_sft(chat_model, conversations, conversations, sft_params(learning_rate=1e38, max_grad_norm=1e38), context)


def test_rows_of_a_step_are_sorted_by_length_and_steps_are_not():
    lengths = [5, 3, 9, 1, 7, 2, 8, 4]
    params = sft_params(num_steps=4)
    order = arrange(lengths, params)
    steps = [order[start : start + 4] for start in range(0, 16, 4)]
    assert sorted(order) == sorted([*range(8), *range(8)])
    assert all([lengths[index] for index in step] == sorted(lengths[index] for index in step) for step in steps)
    assert order == arrange(lengths, params)
    assert order != arrange(lengths, sft_params(num_steps=4, seed=4))


def test_unfinished_checkpoints_are_passed_over_and_removed(tmp_path):
    for step in (20, 100, 90):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (20, 90):
        (tmp_path / f"checkpoint-{step}" / COMPLETE).touch()
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-90"
    assert not (tmp_path / "checkpoint-100").exists()


def test_history_rows_merge_what_was_measured_at_a_step():
    log = [
        {"step": 0, "validation_loss": 4.0},
        {"step": 1, "loss": 3.0, "entropy": 1.0},
        {"step": 2, "validation_loss": 2.5},
        {"step": 2, "loss": 2.0, "entropy": 1.0},
        {"step": 2, "train_runtime": 5.0, "train_loss": 2.5},
    ]
    assert history_rows(log, {"loss": "train_loss"}) == [
        {"step": 0, "train_loss": None, "validation_loss": 4.0},
        {"step": 1, "train_loss": 3.0, "validation_loss": None},
        {"step": 2, "train_loss": 2.0, "validation_loss": 2.5},
    ]
