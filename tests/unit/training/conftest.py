"""A tiny chat model in a folder and toy records to tune it on."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.training.toys import ANSWERS, chat

from forgeline.core.records import Conversation, PreferencePair
from forgeline.model.params import ComputeParams, LlamaParams

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

    from forgeline.packing.dataset import TokenDataset
    from forgeline.training.pretraining.objectives import Objective
    from forgeline.training.pretraining.summary import PretrainResult
    from forgeline.training.trl.trainer import Context


@pytest.fixture(scope="session")
def compute() -> ComputeParams:
    return ComputeParams(num_threads=1, precision="fp32")


@pytest.fixture(scope="session")
def chat_model(
    tokenizer: "PreTrainedTokenizerFast", tiny_architecture: LlamaParams, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model folder with random weights."""
    import torch

    from forgeline.model.build import build_model
    from forgeline.model.loading import save_model_files

    torch.manual_seed(5)
    architecture = tiny_architecture.model_copy(update={"max_position_embeddings": 128})
    folder = tmp_path_factory.mktemp("models") / "sft"
    save_model_files(build_model(architecture, tokenizer), tokenizer, folder)
    return folder


@pytest.fixture
def context(compute: ComputeParams, tmp_path: Path) -> "Context":
    from forgeline.model.compute import set_up
    from forgeline.training.trl.trainer import Context

    return Context(compute, set_up(compute, 3), tmp_path / "scratch", lambda step, figures: None)


@pytest.fixture(scope="session")
def conversations() -> list[Conversation]:
    """What each color belongs to, asked in three ways."""
    asked = ["What is {x}?", "{x}?", "And {x}, what is it?"]
    return [
        Conversation.make("toy", "color", color, chat(question.format(x=color), answer))
        for question in asked
        for color, answer in ANSWERS.items()
    ]


@pytest.fixture(scope="session")
def pairs() -> list[PreferencePair]:
    """The right answer against each wrong one."""
    return [
        PreferencePair.make("toy", "color", color, chat(f"What is {color}?", "")[:1], answer, wrong)
        for color, answer in ANSWERS.items()
        for wrong in ANSWERS.values()
        if wrong != answer
    ]


@pytest.fixture
def train(tiny_model, accelerator, packed, pretrain_params, tmp_path: Path):
    """Trains the tiny model (or another); returns it with the result."""

    def run(
        model: "torch.nn.Module | None" = None,
        *,
        precision: str = "fp32",
        scratch: str = "scratch",
        data: "TokenDataset | None" = None,
        validation: "TokenDataset | None" = None,
        identity: str = "",
        objective: "Objective | None" = None,
        save_model: "Callable[[torch.nn.Module, Path], None] | None" = None,
        log: Callable[[int, dict[str, float]], None] = lambda step, figures: None,
        **changed: Any,
    ) -> "tuple[torch.nn.Module, PretrainResult]":
        from forgeline.training.pretrain import pretrain

        model = model or tiny_model(7)
        result = pretrain(
            model,
            data or packed["train"],
            validation or packed["validation"],
            pretrain_params(**changed),
            accelerator=accelerator(precision),
            checkpoints=tmp_path / scratch,
            log=log,
            identity=identity,
            save_model=save_model,
            float16=precision == "fp16",
            **({} if objective is None else {"objective": objective}),
        )
        return model, result

    return run
