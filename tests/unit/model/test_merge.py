import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from forgeline.core.errors import DataError
from forgeline.model.merge import merge
from forgeline.model.merge_params import MergeParams

# PEFT 0.21 asks for an attribute that transformers 5.23 renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

PROBE = torch.randint(0, 40, (2, 12), generator=torch.Generator().manual_seed(0))
PARAMS = MergeParams(max_logit_difference=0.001, num_probe_windows=2)


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
    with pytest.raises(DataError, match=r"changed a logit by nan, more than merge.max_logit_difference 0.001"):
        merge(model, PROBE, PARAMS)
    with pytest.raises(DataError, match=r"more than merge\.max_logit_difference 0 allows"):
        merge(adapted(), PROBE, MergeParams(max_logit_difference=0.0, num_probe_windows=2))
