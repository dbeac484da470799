import math

import pytest
import torch
from torch import nn
from torch.optim import AdamW, Muon

from forgeline.model.build import build_model
from forgeline.training.loop.optimizers import build_optimizers, clip_gradients, set_learning_rate_factor


def build(name: str, parameters, *, weight_decay: float = 0.1):
    return build_optimizers(
        name,
        parameters,
        learning_rate=0.01,
        muon_learning_rate=0.02,
        betas=(0.9, 0.95),
        weight_decay=weight_decay,
    )


def names_by_group(optimizers, model) -> list[tuple[type, float, set[str]]]:
    names = {id(value): key for key, value in model.named_parameters()}
    return [
        (type(optimizer), group["weight_decay"], {names[id(value)] for value in group["params"]})
        for optimizer in optimizers
        for group in optimizer.param_groups
    ]


class TestGroups:
    hidden = {  # noqa: RUF012
        f"model.layers.{layer}.{module}.weight"
        for layer in (0, 1)
        for module in (
            *(f"self_attn.{part}_proj" for part in "qkvo"),
            *(f"mlp.{part}_proj" for part in ("gate", "up", "down")),
        )
    }
    norms = {  # noqa: RUF012
        "model.norm.weight",
        *(
            f"model.layers.{layer}.{norm}.weight"
            for layer in (0, 1)
            for norm in ("input_layernorm", "post_attention_layernorm")
        ),
    }

    @pytest.mark.parametrize(
        ("tied", "ends"),
        [(True, {"model.embed_tokens.weight"}), (False, {"model.embed_tokens.weight", "lm_head.weight"})],
    )
    def test_every_parameter_is_in_exactly_one_group(
        self, tiny_architecture, tokenizer, tied: bool, ends: set[str]
    ) -> None:
        model = build_model(tiny_architecture.model_copy(update={"tie_word_embeddings": tied}), tokenizer)
        assert names_by_group(build("muon", model.named_parameters()), model) == [
            (AdamW, 0.1, ends),
            (AdamW, 0.0, self.norms),
            (Muon, 0.1, self.hidden),
        ]
        assert names_by_group(build("adamw", model.named_parameters()), model) == [
            (AdamW, 0.1, ends | self.hidden),
            (AdamW, 0.0, self.norms),
        ]
        assert self.hidden | self.norms | ends == {name for name, _ in model.named_parameters()}

    def test_biases_are_not_decayed_and_frozen_parameters_left_out(self) -> None:
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        model[1].weight.requires_grad_(False)
        assert names_by_group(build("muon", model.named_parameters()), model) == [
            (AdamW, 0.1, set()),
            (AdamW, 0.0, {"0.bias", "1.bias"}),
            (Muon, 0.1, {"0.weight"}),
        ]

    def test_hidden_matrices_alone_need_no_adamw(self) -> None:
        optimizers = build("muon", nn.Linear(2, 2, bias=False).named_parameters())
        assert [type(optimizer) for optimizer in optimizers] == [Muon]


def test_adamw_by_hand() -> None:
    """Two steps of Loshchilov & Hutter 2019, algorithm 2, written out."""
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(2.0)
        model.bias.fill_(2.0)
    optimizers = build("adamw", model.named_parameters())
    weight, bias, first, second = 2.0, 2.0, 0.0, 0.0
    for step, gradient in enumerate((0.5, -0.25), start=1):
        model.weight.grad = torch.full_like(model.weight, gradient)
        model.bias.grad = torch.full_like(model.bias, gradient)
        for optimizer in optimizers:
            optimizer.step()
        first = 0.9 * first + 0.1 * gradient
        second = 0.95 * second + 0.05 * gradient**2
        update = first / (1 - 0.9**step) / (math.sqrt(second / (1 - 0.95**step)) + 1e-8)
        weight = weight * (1 - 0.01 * 0.1) - 0.01 * update
        bias = bias - 0.01 * update
    assert model.weight.item() == pytest.approx(weight, rel=1e-6)
    assert model.bias.item() == pytest.approx(bias, rel=1e-6)


def test_muon_moves_by_a_near_orthogonal_matrix_and_decays() -> None:
    model = nn.Linear(6, 6, bias=False)
    before = model.weight.detach().clone()
    generator = torch.Generator().manual_seed(0)
    model.weight.grad = torch.randn(6, 6, generator=generator) + 5 * torch.eye(6)
    for optimizer in build("muon", model.named_parameters()):
        optimizer.step()
    update = (before * (1 - 0.02 * 0.1) - model.weight.detach()) / 0.02
    # Newton-Schulz with Jordan's coefficients brings singular values near 1, not to it.
    singular = torch.linalg.svdvals(update)
    assert singular.min() > 0.5
    assert singular.max() < 1.3
    left, _, right = torch.linalg.svd(model.weight.grad)
    assert torch.trace(update.T @ (left @ right)) > 0.9 * 6 * 0.7  # along the gradient's polar factor


def test_the_factor_scales_every_groups_own_peak(tiny_model) -> None:
    optimizers = build("muon", tiny_model(0).named_parameters())
    for factor in (0.5, 0.1, 1.0):  # not compounded
        set_learning_rate_factor(optimizers, factor)
        rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
        assert rates == pytest.approx([0.01 * factor, 0.01 * factor, 0.02 * factor])


def test_gradients_are_scaled_to_the_largest_norm_allowed() -> None:
    first, second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(2))

    def clip(max_norm: float) -> tuple[float, list[float]]:
        first.grad, second.grad = torch.tensor([3.0]), torch.tensor([0.0, 4.0])
        return clip_gradients([first, second], max_norm), [*first.grad.tolist(), *second.grad.tolist()]

    norm, scaled = clip(1.0)
    assert norm == pytest.approx(5.0)
    assert scaled == pytest.approx([0.6, 0.0, 0.8], rel=1e-5)
    assert clip(6.0) == (5.0, [3.0, 0.0, 4.0])
