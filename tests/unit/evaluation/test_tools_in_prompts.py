"""The tools of a conversation stand in every prompt made of it, as they stood where it was learned."""

import copy
from types import SimpleNamespace

import pytest
from tests.unit.training.policies import policy_params
from tests.unit.training.toys import chat

from forgeline.core.records import Conversation
from forgeline.evaluation.tasks import written
from forgeline.evaluation.tasks.base import Subject, answer_branches
from forgeline.quantization import gate
from forgeline.tokenization.chat import render_conversation
from forgeline.tokenization.template import find_template
from forgeline.training.reinforce.train import select_prompts

TOOLS = '[{"type": "function", "function": {"name": "look_up", "description": "Finds a term.", "parameters": {}}}]'
TURNS = chat("Which system?", "\\boxed{Eye}")


@pytest.fixture
def tokenizer(byte_tokenizer):
    one = copy.deepcopy(byte_tokenizer)
    one.chat_template = find_template("qwen")
    return one


@pytest.fixture
def learned(tokenizer) -> list[int]:
    """The conversation as training sees it."""
    return render_conversation(tokenizer, TURNS, TOOLS).input_ids


def test_written_answers(tokenizer, learned, monkeypatch) -> None:
    fed = []

    def generate(model, prompts, **named):
        fed.extend(prompts)
        return [SimpleNamespace(output_ids=[]) for _ in prompts]

    monkeypatch.setattr(written, "generate", generate)
    monkeypatch.setattr(written, "_for_writing", lambda model: model)
    written.write_answers(Subject(None, tokenizer), [TURNS[:1]] * 2, 4, 64, [TOOLS, ""])
    assert fed[0] == learned[: len(fed[0])]
    assert "look_up" in tokenizer.decode(fed[0])
    assert fed[1] == render_conversation(tokenizer, TURNS).input_ids[: len(fed[1])]


def test_scored_answers(tokenizer, learned) -> None:
    branches = answer_branches(tokenizer, TURNS[:1], [TURNS[1]["content"]], TOOLS)
    assert [*branches.prompt, *branches.answers[0]] == learned


def test_rollouts(tokenizer, learned) -> None:
    conversation = Conversation.make("toy", "color", "", TURNS, TOOLS)
    [prompt], _ = select_prompts("reinforce.x", tokenizer, [conversation], policy_params(), None)
    assert list(prompt.input_ids) == learned[: len(prompt.input_ids)]
    assert "look_up" in tokenizer.decode(prompt.input_ids)


def test_questions_of_a_quantized_model(tokenizer, learned, monkeypatch) -> None:
    fed = []

    def generate(model, prompts, **named):
        fed.extend(prompts)
        return [SimpleNamespace(output_ids=[]) for _ in prompts]

    monkeypatch.setattr(gate, "generate", generate)
    params = SimpleNamespace(gate=SimpleNamespace(questions=1), seed=1)
    questions = gate.boxed_questions([Conversation.make("toy", "", "", TURNS, TOOLS)], params, "x")
    gate.answer_rates(None, tokenizer, questions, 4)
    assert fed[0] == learned[: len(fed[0])]
    assert "look_up" in tokenizer.decode(fed[0])
