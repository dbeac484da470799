import pytest
import torch

from forgeline.model.build import build_model
from forgeline.model.compute import autocast, set_up
from forgeline.model.params import ComputeParams, LlamaParams

FP32 = ComputeParams(num_threads=1, precision="fp32")
BF16 = ComputeParams(num_threads=1, precision="bf16")


def num_parameters(params: LlamaParams, vocab_size: int) -> int:
    """A Llama's parameters, counted from its definition."""
    head = params.hidden_size // params.num_attention_heads
    queries_and_output = 2 * params.hidden_size * params.hidden_size
    keys_and_values = 2 * params.hidden_size * params.num_key_value_heads * head
    gated_mlp = 3 * params.hidden_size * params.intermediate_size
    norms = 2 * params.hidden_size
    layers = params.num_hidden_layers * (queries_and_output + keys_and_values + gated_mlp + norms)
    embeddings = vocab_size * params.hidden_size * (1 if params.tie_word_embeddings else 2)
    return embeddings + layers + params.hidden_size


@pytest.mark.parametrize(
    "changed", [{}, {"tie_word_embeddings": False}, {"num_key_value_heads": 2}, {"num_hidden_layers": 1}]
)
def test_the_parameter_count_is_the_formulas(tiny_architecture: LlamaParams, tokenizer, changed: dict) -> None:
    params = tiny_architecture.model_copy(update=changed)
    model = build_model(params, tokenizer)
    assert sum(parameter.numel() for parameter in model.parameters()) == num_parameters(params, 300)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_every_parameter_of_the_section_reaches_the_model(tiny_architecture: LlamaParams, tokenizer) -> None:
    config = build_model(tiny_architecture, tokenizer).config
    written = {key: getattr(config, key) for key in LlamaParams.model_fields if key not in ("rope_theta", "kind")}
    assert {
        **written,
        "kind": config.model_type,
        "rope_theta": config.rope_parameters["rope_theta"],
    } == tiny_architecture.model_dump()
    assert (config.vocab_size, config.bos_token_id, config.pad_token_id, config.eos_token_id) == (300, 0, 1, 3)


@pytest.mark.parametrize("tied", [True, False])
def test_head_and_embedding_are_one_tensor_when_tied(tiny_architecture: LlamaParams, tokenizer, tied: bool) -> None:
    model = build_model(tiny_architecture.model_copy(update={"tie_word_embeddings": tied}), tokenizer)
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied


def test_weights_are_drawn_with_the_given_spread(tiny_architecture: LlamaParams, tokenizer) -> None:
    torch.manual_seed(0)
    model = build_model(tiny_architecture.model_copy(update={"initializer_range": 0.3}), tokenizer)
    assert model.model.embed_tokens.weight.std().item() == pytest.approx(0.3, rel=0.05)
    assert torch.equal(model.model.norm.weight, torch.ones(16))


def test_fresh_weights_depend_on_the_seed_alone(tiny_architecture: LlamaParams, tokenizer) -> None:
    def fresh(seed: int) -> dict[str, torch.Tensor]:
        set_up(FP32, seed)
        return build_model(tiny_architecture, tokenizer).state_dict()

    first = fresh(1)
    torch.rand(7)
    again, other = fresh(1), fresh(2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_autocast_multiplies_in_bfloat16_or_not_at_all() -> None:
    device = torch.device("cpu")
    a = torch.ones(2, 2)
    with autocast(device, BF16):
        assert (a @ a).dtype == torch.bfloat16
    with autocast(device, FP32):
        assert (a @ a).dtype == torch.float32
