from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
)

from forgeline.core.errors import DataError
from forgeline.model.loading import as_classifier, load_model
from forgeline.model.merge import generation_config_of, merge
from forgeline.model.merge_params import MergeGateParams

# PEFT 0.21 asks for an attribute that transformers 5.23 renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

PROBE = torch.randint(0, 40, (2, 12), generator=torch.Generator().manual_seed(0))
PARAMS = MergeGateParams(max_logit_difference=0.001, num_windows=2)


def plain():
    torch.manual_seed(4)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


def adapted():
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(plain(), lora)
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # starts at zero, which would make merging trivial
                parameter.normal_(std=0.2)
    return model.eval()


def test_the_merged_folder_loads_plainly_and_says_the_same(tmp_path):
    model = adapted()
    with torch.no_grad():
        expected = model(PROBE).logits
        assert (expected - plain()(PROBE).logits).abs().max() > 0.1
    result = merge(model, PROBE, PARAMS)
    assert not isinstance(result.model, PeftModel)
    result.model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(str(tmp_path))
    with torch.no_grad():
        assert (loaded(PROBE).logits - expected).abs().max() <= 1e-4
    assert result.max_logit_difference <= 1e-4
    assert result.num_tensors_in - result.num_tensors_out == 2 * 2 * 2  # A and B of two modules in two layers


def test_the_merged_weight_is_the_sum_by_hand():
    model = adapted()
    layer = model.base_model.model.model.layers[1].mlp.up_proj
    update = layer.lora_B["default"].weight @ layer.lora_A["default"].weight * (8 / 4)
    expected = (layer.base_layer.weight + update).detach()
    merged = merge(model, PROBE, PARAMS).model
    assert torch.allclose(merged.model.layers[1].mlp.up_proj.weight, expected, atol=1e-6)


class Tokenizer:
    """All that a generation config asks of one."""

    bos_token_id, eos_token_id, pad_token_id = 0, 3, 1
    chat_template = None


def test_generation_ends_with_the_turn_or_the_document(tmp_path):
    result = merge(adapted(), PROBE, PARAMS)
    result.model.generation_config = generation_config_of(Tokenizer())
    result.model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(str(tmp_path)).generation_config
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (0, [0, 3], 1)


def classifier_adapter(parent, num_labels):
    """An adapter with a head of its own on a classifier made of a causal parent."""
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=["v_proj"], task_type="SEQ_CLS", modules_to_save=["score"])
    model = get_peft_model(as_classifier(parent, num_labels), lora)
    torch.manual_seed(6)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter.normal_(std=0.2)
    return model.eval()


@pytest.mark.parametrize("num_labels", [1, 3])
def test_a_chain_ending_in_a_classifier_becomes_plain_weights(num_labels, tmp_path, monkeypatch):
    """Causal weights, an adapter on them, and a classifier's adapter on that: all merged, loaded by transformers."""
    monkeypatch.chdir(tmp_path)
    base = plain()
    base.config.pad_token_id = 1
    base.save_pretrained("base")
    first = adapted()
    first.peft_config["default"].base_model_name_or_path = "base"
    first.save_pretrained("first", save_embedding_layers=False)
    second = classifier_adapter(adapted().merge_and_unload(), num_labels)
    second.base_model.model.config.pad_token_id = 1
    second.peft_config["default"].base_model_name_or_path = "first"
    second.save_pretrained("second", save_embedding_layers=False)
    with torch.no_grad():
        expected = second(PROBE).logits
    result = merge(load_model(Path("second"), torch.device("cpu")), PROBE, PARAMS)
    assert result.max_logit_difference <= 1e-5
    result.model.save_pretrained("merged")
    loaded = AutoModelForSequenceClassification.from_pretrained("merged")
    with torch.no_grad():
        assert torch.allclose(loaded(PROBE).logits, expected, atol=1e-5)
        ours = load_model(Path("merged"), torch.device("cpu"))
        assert torch.allclose(ours(PROBE).logits, expected, atol=1e-5)
    assert expected.shape == (2, num_labels)
    assert Path("second/adapter_model.safetensors").is_file(), "adapters are kept"


def test_a_classifier_without_its_head_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain().save_pretrained("base")
    lora = LoraConfig(r=4, target_modules=["v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(plain(), lora)
    model.peft_config["default"].base_model_name_or_path = "base"
    model.peft_config["default"].task_type = "SEQ_CLS"
    model.save_pretrained("headless", save_embedding_layers=False)
    with pytest.raises(DataError, match=r"headless is the adapter of a classifier but holds no weights of its head"):
        load_model(Path("headless"), torch.device("cpu"))


def test_plain_weights_pass_through():
    model = plain()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = merge(model, PROBE, PARAMS)
    assert result.max_logit_difference == 0.0
    assert result.num_tensors_in == result.num_tensors_out
    assert all(torch.equal(tensor, before[name]) for name, tensor in result.model.state_dict().items())


def test_too_large_a_change_is_an_error():
    model = adapted()
    with torch.no_grad():
        model.base_model.model.lm_head.weight[0, 0] = float("nan")
    with pytest.raises(DataError, match=r"changed a logit by nan, more than merge.gate.max_logit_difference 0.001"):
        merge(model, PROBE, PARAMS)
    with pytest.raises(DataError, match=r"more than merge\.gate\.max_logit_difference 0 allows"):
        merge(adapted(), PROBE, MergeGateParams(max_logit_difference=0.0, num_windows=2))
