import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from forgeline.core.errors import DataError
from forgeline.core.storage import sha256_path
from forgeline.model.build import build_model
from forgeline.model.loading import is_adapter, load_model, parent_of, save_model_files
from forgeline.tokenization.fingerprint import require_same_tokenizer

CPU = torch.device("cpu")
IDS = torch.tensor([[0, 70, 80, 90, 100, 71], [2, 5, 6, 250, 299, 3]])
# No alphabetical order, so that sorting can be seen.
TARGETS = ["v_proj", "down_proj", "q_proj"]


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS, use_cache=False).logits


def with_adapter(model, parent: str, seed: int) -> PeftModel:
    """A LoRA adapter with all its weights random, so that it changes every logit."""
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS, task_type="CAUSAL_LM"))
    torch.manual_seed(seed)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted.peft_config["default"].base_model_name_or_path = parent
    return adapted


@pytest.fixture
def base(tiny_architecture, tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A model saved at models/base of the working directory, and itself."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(11)
    model = build_model(tiny_architecture, tokenizer).eval()
    save_model_files(model, tokenizer, Path("models/base"))
    return model


def test_weights_come_back_with_identical_logits(base) -> None:
    loaded = load_model(Path("models/base"), CPU)
    assert torch.equal(logits(loaded), logits(base))
    assert not loaded.training
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_bfloat16_weights_are_loaded_in_float32(base, tokenizer) -> None:
    save_model_files(base.to(torch.bfloat16), tokenizer, Path("models/half"))
    loaded = load_model(Path("models/half"), CPU)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


def test_saving_twice_and_after_loading_gives_the_same_bytes(base, tokenizer) -> None:
    save_model_files(base, tokenizer, Path("models/twice"))
    save_model_files(load_model(Path("models/base"), CPU), tokenizer, Path("models/loaded"))
    assert sha256_path(Path("models/twice")) == sha256_path(Path("models/base")) == sha256_path(Path("models/loaded"))


def test_a_saved_model_carries_its_tokenizer_and_only_what_belongs_to_it(base, tokenizer_folder: Path) -> None:
    assert sorted(path.name for path in Path("models/base").iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    require_same_tokenizer(Path("models/base"), tokenizer_folder)
    assert not is_adapter(Path("models/base"))


class TestAdapters:
    @pytest.fixture
    def first(self, base, tokenizer) -> torch.Tensor:
        """An adapter at models/first on models/base; PEFT's own logits with it."""
        adapted = with_adapter(base, "models/base", seed=1)
        save_model_files(adapted, tokenizer, Path("models/first"))
        return logits(adapted)

    def test_an_adapter_is_put_on_its_parent(self, first: torch.Tensor) -> None:
        assert is_adapter(Path("models/first"))
        assert parent_of(Path("models/first")) == Path("models/base")
        loaded = load_model(Path("models/first"), CPU)
        assert isinstance(loaded, PeftModel)
        assert torch.equal(logits(loaded), first)
        assert not torch.allclose(logits(load_model(Path("models/base"), CPU)), first, atol=1e-3)

    def test_a_chain_equals_pefts_own(self, first: torch.Tensor, tokenizer) -> None:
        merged = load_model(Path("models/first"), CPU).merge_and_unload()
        adapted = with_adapter(merged, "models/first", seed=2)
        save_model_files(adapted, tokenizer, Path("models/second"))
        loaded = load_model(Path("models/second"), CPU)
        assert torch.allclose(logits(loaded), logits(adapted), atol=1e-6)
        assert not torch.allclose(logits(loaded), first, atol=1e-3)
        with loaded.disable_adapter():  # the parent is the first adapter, not the base
            assert torch.allclose(logits(loaded), first, atol=1e-5)

    def test_only_the_own_adapter_learns_and_only_when_asked(self, first: torch.Tensor) -> None:
        frozen = load_model(Path("models/first"), CPU)
        assert not frozen.training
        assert [name for name, parameter in frozen.named_parameters() if parameter.requires_grad] == []
        trainable = load_model(Path("models/first"), CPU, trainable_adapter=True)
        assert trainable.training
        learning = {name for name, parameter in trainable.named_parameters() if parameter.requires_grad}
        assert learning == {name for name, _ in trainable.named_parameters() if "lora_" in name}
        assert len(learning) == 2 * 3 * 2  # A and B, three modules, two layers

    def test_its_files_are_sorted_and_the_same_bytes_each_time(self, first: torch.Tensor, tokenizer) -> None:
        folder = Path("models/first")
        config = json.loads((folder / "adapter_config.json").read_text())
        assert config["target_modules"] == ["down_proj", "q_proj", "v_proj"]
        assert list(config) == sorted(config)
        assert "README.md" not in {path.name for path in folder.iterdir()}
        assert "model.safetensors" not in {path.name for path in folder.iterdir()}
        save_model_files(load_model(folder, CPU, trainable_adapter=True), tokenizer, Path("models/again"))
        assert (Path("models/again") / "adapter_model.safetensors").read_bytes() == (
            folder / "adapter_model.safetensors"
        ).read_bytes()
        again = json.loads((Path("models/again") / "adapter_config.json").read_text())
        assert again["base_model_name_or_path"] == "models/base"

    def test_a_missing_parent_is_named(self, first: torch.Tensor) -> None:
        shutil.rmtree("models/base")
        with pytest.raises(DataError, match="models/base is not a model folder"):
            load_model(Path("models/first"), CPU)

    @pytest.mark.parametrize("damage", ["truncated", "missing"])
    def test_damaged_adapter_weights_are_named(self, first: torch.Tensor, damage: str) -> None:
        file = Path("models/first/adapter_model.safetensors")
        if damage == "truncated":
            file.write_bytes(file.read_bytes()[:-100])
        else:
            file.unlink()
        with pytest.raises(DataError, match="models/first cannot be loaded"):
            load_model(Path("models/first"), CPU)

    @pytest.mark.filterwarnings("ignore:Found missing adapter keys")  # PEFT only warns and fills in random numbers
    def test_an_adapter_without_some_of_its_tensors_is_refused(self, first: torch.Tensor) -> None:
        file = Path("models/first/adapter_model.safetensors")
        tensors = load_file(file)
        removed = sorted(tensors)[0]
        save_file({key: value for key, value in tensors.items() if key != removed}, file, {"format": "pt"})
        with pytest.raises(DataError, match=f"models/first lacks the weights {removed}"):
            load_model(Path("models/first"), CPU)

    def test_an_adapter_for_another_architecture_is_refused(
        self, first: torch.Tensor, tiny_architecture, tokenizer
    ) -> None:
        wider = tiny_architecture.model_copy(update={"intermediate_size": 32})
        save_model_files(build_model(wider, tokenizer), tokenizer, Path("models/base"))
        with pytest.raises(DataError, match="models/first cannot be loaded"):
            load_model(Path("models/first"), CPU)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError) as caught:
            load_model(path, CPU)
        assert str(caught.value).startswith(f"{path} is not a model folder")


@pytest.mark.parametrize("damage", ["truncated", "header", "empty", "missing"])
def test_damaged_weights_are_named(base, damage: str) -> None:
    file = Path("models/base/model.safetensors")
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"truncated": content[:-1000], "header": b"\xff" * 100 + content[100:], "empty": b""}[damage])
    with pytest.raises(DataError, match="models/base cannot be loaded"):
        load_model(Path("models/base"), CPU)


def test_weights_without_some_tensors_are_refused_and_the_tensors_named(base) -> None:
    file = Path("models/base/model.safetensors")
    tensors = load_file(file)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(DataError, match=r"models/base lacks the weights model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(Path("models/base"), CPU)


def test_weights_of_another_size_are_refused(base) -> None:
    file = Path("models/base/config.json")
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "intermediate_size": 40}))
    with pytest.raises(DataError, match="models/base cannot be loaded"):
        load_model(Path("models/base"), CPU)


def test_a_damaged_configuration_is_named(base) -> None:
    Path("models/base/config.json").write_text("{")
    with pytest.raises(DataError, match=r"models/base/config.json is not valid JSON"):
        load_model(Path("models/base"), CPU)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_refused_by_name(base, value: float) -> None:
    file = Path("models/base/model.safetensors")
    tensors = load_file(file)
    tensors["model.layers.1.mlp.up_proj.weight"][3, 2] = value
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(
        DataError, match=r"models/base: the weights model\.layers\.1\.mlp\.up_proj\.weight hold NaN or inf"
    ):
        load_model(Path("models/base"), CPU)


def test_weights_whose_sum_alone_overflows_are_numbers(base) -> None:
    file = Path("models/base/model.safetensors")
    tensors = load_file(file)
    tensors["model.norm.weight"][:2] = 3e38
    save_file(tensors, file, metadata={"format": "pt"})
    assert load_model(Path("models/base"), CPU).model.norm.weight[0].item() == pytest.approx(3e38)


def test_an_adapter_that_is_not_numbers_is_refused_by_name(base, tokenizer) -> None:
    save_model_files(with_adapter(base, "models/base", 1), tokenizer, Path("models/adapter"))
    file = Path("models/adapter/adapter_model.safetensors")
    tensors = load_file(file)
    name = next(name for name in tensors if "lora_A" in name)
    tensors[name][0, 0] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"models/adapter: the weights .*lora_A.* hold NaN or infinity"):
        load_model(Path("models/adapter"), CPU)
