from tests.unit.training.test_sft import sft_params
from tests.unit.training.toys import chat

from forgeline.core.records import Conversation
from forgeline.training.loss_view import loss_view, token_texts
from forgeline.training.trl.held_out import Labelled


def conversation(question: str, answer: str, task: str = "") -> Conversation:
    return Conversation.make("toy", task, "", chat(question, answer))


def test_samples_are_the_tokens_and_labels_of_the_trainer_by_hand(byte_tokenizer):
    view = loss_view(byte_tokenizer, [conversation("aé", "b")], sft_params())
    [sample] = view["samples"]
    prompt = ["<|im_start|>", *"user\naé", "<|im_end|>", "\n", "<|im_start|>", *"assistant\n"]  # é is two tokens
    assert sample["tokens"] == [*((text, False) for text in prompt), ("b", True), ("<|im_end|>", True)]
    assert (view["num_tokens"], view["num_trained_tokens"]) == (len(prompt) + 3, 2)
    assert view["tokens"] == {"32": 1}
    everything = loss_view(byte_tokenizer, [conversation("aé", "b")], sft_params(assistant_only_loss=False))
    assert [on for _, on in everything["samples"][0]["tokens"]] == [False] + [True] * (len(prompt) + 1)


def test_each_task_is_shown_before_a_second_of_the_same(byte_tokenizer):
    records = [conversation(f"q{number}", "a", "often") for number in range(30)]
    records += [conversation("q", "a", "rare"), conversation("x" * 300, "a", "rare too")]
    view = loss_view(byte_tokenizer, records, sft_params())
    assert sorted(sample["task"] for sample in view["samples"]) == ["often"] * 4 + ["rare"]
    assert (view["num_measured"], view["num_left_out"]) == (32, 1)
    assert sum(view["tokens"].values()) == 31
    assert view == loss_view(byte_tokenizer, records, sft_params())


def test_bytes_that_are_no_character_end_up_in_some_text(byte_tokenizer):
    ids = byte_tokenizer.encode("€")[:2]
    texts = token_texts(byte_tokenizer, Labelled([2, *ids], [-100, *ids]))
    assert texts == [("<|im_start|>", False), ("\ufffd", True)]
