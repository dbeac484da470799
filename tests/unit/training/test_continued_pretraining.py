from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from tests.unit.training.runs import Killed, at, kill, same_bytes
from tests.unit.training.toys import OPTIMIZERS

from forgeline.core.errors import ParamsError
from forgeline.model.build import build_model
from forgeline.model.initial import extend_embeddings
from forgeline.model.loading import load_model
from forgeline.model.params import ModelParams
from forgeline.tokenization.extension import Extension
from forgeline.training.params.pretrain import PretrainParams
from forgeline.training.pretraining.adapted import adapted, save_whole, whole_model

LORA = {"init_from": "models/other", "peft": "lora", "num_steps": 6}
IDS = torch.arange(24).reshape(2, 12) * 12
NEW_IDS = range(298, 300)


@pytest.fixture
def model(tiny_architecture: ModelParams, tokenizer) -> Callable[[bool], torch.nn.Module]:
    """Makes a small Llama whose last two ids are new ones."""

    def make(tied: bool = True) -> torch.nn.Module:
        torch.manual_seed(7)
        made = build_model(tiny_architecture.model_copy(update={"tie_word_embeddings": tied}), tokenizer)
        extend_embeddings(made, Extension("x", 298, [[70, 71], [72]]))
        return made

    return make


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("embeddings", ["none", "new", "all"])
def test_what_was_trained_is_merged_saved_and_loaded_again(
    model, train, tokenizer, pretrain_params, tmp_path: Path, tied: bool, embeddings: str
) -> None:
    options = {**LORA, "train_embeddings": embeddings}
    before = {name: value.clone() for name, value in model(tied).state_dict().items()}
    torch.manual_seed(1)
    trained, result = train(adapted(model(tied), pretrain_params(**options), NEW_IDS), **options)
    assert isinstance(result.model, PeftModel)
    expected = trained.eval()(input_ids=IDS).logits
    whole = whole_model(result.model)
    save_whole(whole, tokenizer, tmp_path / "base")
    loaded = load_model(tmp_path / "base", torch.device("cpu"))
    assert not isinstance(loaded, PeftModel)
    assert torch.allclose(loaded(input_ids=IDS).logits, expected, atol=1e-5)
    after = loaded.state_dict()
    assert after.keys() == before.keys()
    for name, value in after.items():
        layer = name.split(".")[-2]
        moved = not torch.equal(value, before[name])
        if layer in ("embed_tokens", "lm_head"):
            assert moved is (embeddings != "none"), name
            if embeddings == "new":
                assert torch.equal(value[:298], before[name][:298]), name
        else:
            assert moved is (layer in ("q_proj", "v_proj", "down_proj")), name
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) is tied


@pytest.mark.parametrize("embeddings", ["none", "new", "all"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_killed_run_with_an_adapter_ends_as_if_nothing_had_happened(
    model, train, pretrain_params, optimizer: str, embeddings: str
) -> None:
    options = {**LORA, "train_embeddings": embeddings, "optimizer": OPTIMIZERS[optimizer], "final_weights": "best"}

    def start() -> torch.nn.Module:
        made = model()
        torch.manual_seed(1)
        return adapted(made, pretrain_params(**options), NEW_IDS)

    whole, whole_result = train(start(), scratch="undisturbed", **options)
    with pytest.raises(Killed):
        train(start(), log=at(5, kill), **options)
    again, again_result = train(start(), **options)
    assert same_bytes(whole, again)
    assert again_result.history == whole_result.history
    assert again_result.chosen_step == whole_result.chosen_step


def test_a_checkpoint_leaves_frozen_weights_out(model, train, pretrain_params, tmp_path: Path) -> None:
    options = {**LORA, "checkpoint_every_steps": 6}
    wrapped = adapted(model(), pretrain_params(**options), NEW_IDS)
    train(wrapped, **options)
    saved = torch.load(tmp_path / "scratch" / "step-00000006.pt")["model"]
    assert {name for name in saved if "lora" not in name} <= {"base_model.model.lm_head.weight"}


def test_new_rows_cannot_be_trained_when_there_are_none(model, pretrain_params) -> None:
    params = pretrain_params(**LORA, train_embeddings="new")
    with pytest.raises(ParamsError, match=r"train_embeddings is new, but the tokenizer adds no ids"):
        adapted(model(), params, range(0))


def test_an_adapter_on_random_weights_is_refused(pretrain_params: Callable[..., PretrainParams]) -> None:
    with pytest.raises(ValueError, match="peft lora without init_from would freeze random weights"):
        pretrain_params(peft="lora")
