"""Grouping, and every optimizer against an implementation that is not ours or against steps written out by hand."""

import math
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from pydantic import TypeAdapter
from tests.unit.training.toys import OPTIMIZERS
from torch import Tensor, nn
from torch.optim import Adafactor, AdamW, Muon, Optimizer
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.optimization import Adafactor as LibraryAdafactor

from forgeline.model.build import build_model
from forgeline.training.loop.optimizers.build import build_optimizers, clip_gradients, set_learning_rate_factor
from forgeline.training.loop.optimizers.lion import Lion
from forgeline.training.loop.optimizers.params import OptimizerParams
from forgeline.training.loop.optimizers.sophia import Sophia

CLASSES = {"adamw": AdamW, "adafactor": Adafactor, "lion": Lion, "sophia": Sophia}


def params(name: str, **changed: Any) -> OptimizerParams:
    return TypeAdapter(OptimizerParams).validate_python({**OPTIMIZERS[name], **changed})


def build(name: str, model: nn.Module, **changed: Any) -> list[Optimizer]:
    return build_optimizers(params(name, **changed), model)


def names_by_group(optimizers: Iterable[Optimizer], model: nn.Module) -> list[tuple[type, float, set[str]]]:
    names = {id(value): key for key, value in model.named_parameters()}
    return [
        (type(optimizer), group["weight_decay"], {names[id(value)] for value in group["params"]})
        for optimizer in optimizers
        for group in optimizer.param_groups
    ]


def gradients(model: nn.Module, num_steps: int, scale: float = 1.0) -> list[list[Tensor]]:
    """Made-up gradients of every parameter for every step."""
    generator = torch.Generator().manual_seed(1)
    return [
        [scale * torch.randn(value.shape, generator=generator) for value in model.parameters()]
        for _ in range(num_steps)
    ]


def walk(model: nn.Module, optimizers: Iterable[Optimizer], steps: Iterable[Iterable[Tensor]]) -> list[Tensor]:
    """The parameters after steps along given gradients."""
    for step in steps:
        for parameter, gradient in zip(model.parameters(), step, strict=True):
            parameter.grad = gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


def same_layer(count: int) -> list[nn.Linear]:
    layers = []
    for _ in range(count):
        torch.manual_seed(0)
        layers.append(nn.Linear(5, 3))
    return layers


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
        assert names_by_group(build("muon", model), model) == [
            (AdamW, 0.1, ends),
            (AdamW, 0.0, self.norms),
            (Muon, 0.1, self.hidden),
        ]
        for name, kind in CLASSES.items():
            assert names_by_group(build(name, model, weight_decay=0.2), model) == [
                (kind, 0.2, ends | self.hidden),
                (kind, 0.0, self.norms),
            ]
        assert self.hidden | self.norms | ends == {name for name, _ in model.named_parameters()}

    def test_embeddings_and_head_are_known_by_what_they_are(self) -> None:
        """GPT-2 calls them wte and wpe, and learns its positions."""
        sizes = {"vocab_size": 11, "n_positions": 8, "n_embd": 4, "n_layer": 1, "n_head": 2}
        model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0, tie_word_embeddings=False))
        (_, _, ends), (_, _, vectors), (_, _, hidden) = names_by_group(build("muon", model), model)
        assert ends == {"transformer.wte.weight", "transformer.wpe.weight", "lm_head.weight"}
        block = "transformer.h.0."
        assert hidden == {f"{block}{name}.weight" for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")}
        assert all("ln_" in name or name.endswith("bias") for name in vectors)

    def test_biases_are_not_decayed_and_frozen_parameters_left_out(self) -> None:
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        model[1].weight.requires_grad_(False)
        assert names_by_group(build("muon", model), model) == [
            (AdamW, 0.0, {"0.bias", "1.bias"}),
            (Muon, 0.1, {"0.weight"}),
        ]

    def test_an_adapters_matrices_leave_nothing_to_adamw(self, tiny_model) -> None:
        model = get_peft_model(tiny_model(0), LoraConfig(r=2, target_modules=["q_proj"]))
        assert [type(optimizer) for optimizer in build("muon", model)] == [Muon]

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_nothing_trainable_needs_no_optimizer(self, name: str) -> None:
        assert build(name, nn.Linear(2, 2).requires_grad_(False)) == []


def test_adamw_by_hand() -> None:
    """Two steps of Loshchilov & Hutter 2019, algorithm 2, written out."""
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, 2.0)
    nn.init.constant_(model.bias, 2.0)
    steps = [0.5, -0.25]
    walked = walk(model, build("adamw", model, epsilon=0.1), [[torch.tensor([[g]]), torch.tensor([g])] for g in steps])
    weight, bias, first, second = 2.0, 2.0, 0.0, 0.0
    for step, gradient in enumerate(steps, start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.95 * second + 0.05 * gradient**2
        update = first / (1 - 0.9**step) / (math.sqrt(second / (1 - 0.95**step)) + 0.1)
        weight = weight * (1 - 0.01 * 0.1) - 0.01 * update
        bias = bias - 0.01 * update
    assert [value.item() for value in walked] == pytest.approx([weight, bias], rel=1e-6)


class TestMuon:
    def test_it_moves_by_a_near_orthogonal_matrix_and_decays(self) -> None:
        model = nn.Linear(6, 6, bias=False)
        before = model.weight.detach().clone()
        generator = torch.Generator().manual_seed(0)
        gradient = torch.randn(6, 6, generator=generator) + 5 * torch.eye(6)
        (after,) = walk(model, build("muon", model), [[gradient]])
        update = (before * (1 - 0.02 * 0.1) - after) / 0.02
        # Newton-Schulz with Jordan's coefficients brings singular values near 1, not to it.
        singular = torch.linalg.svdvals(update)
        assert singular.min() > 0.5
        assert singular.max() < 1.3
        left, _, right = torch.linalg.svd(gradient)
        assert torch.trace(update.T @ (left @ right)) > 0.9 * 6 * 0.7  # along the gradient's polar factor

    def test_two_steps_by_hand(self) -> None:
        """Jordan et al. 2024 in float64: Newton-Schulz is a polynomial of the singular values, applied five times."""
        model = nn.Linear(4, 7, bias=False)
        weight = model.weight.detach().double()
        steps = gradients(model, 2)
        (walked,) = walk(model, build("muon", model, momentum=0.9), steps)
        momentum = torch.zeros_like(weight)
        for (gradient,) in steps:
            momentum = 0.9 * momentum + 0.1 * gradient.double()
            left, singular, right = torch.linalg.svd(0.1 * gradient.double() + 0.9 * momentum, full_matrices=False)
            singular = singular / singular.norm()
            for _ in range(5):
                singular = 3.4445 * singular - 4.7750 * singular**3 + 2.0315 * singular**5
            update = left @ torch.diag(singular) @ right * math.sqrt(7 / 4)
            weight = weight * (1 - 0.02 * 0.1) - 0.02 * update
        # torch orthogonalizes in bfloat16; the steps are of 0.02.
        assert torch.allclose(walked.double(), weight, rtol=0, atol=0.001)


class TestAdafactor:
    # Gradients of a model with 100 million parameters, clipped to a norm of 1, are about 1e-4 each.
    @pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-6])
    def test_it_walks_as_the_one_of_transformers(self, scale: float) -> None:
        ours, theirs = same_layer(2)
        steps = gradients(ours, 20, scale)
        library = LibraryAdafactor(
            theirs.parameters(), lr=0.01, relative_step=False, eps=(1e-30, 0.3), decay_rate=-0.7, clip_threshold=1.1
        )
        expected = walk(theirs, [library], steps)
        knobs = {"learning_rate": 0.01, "min_scale": 0.3, "beta2_decay": -0.7, "clip_threshold": 1.1}
        walked = walk(ours, build("adafactor", ours, **knobs), steps)
        for mine, other in zip(walked, expected, strict=True):
            assert torch.allclose(mine, other, rtol=1e-5, atol=1e-7)

    def test_the_first_step_by_hand(self) -> None:
        """Shazeer & Stern 2018, algorithm 4: at step 1 the decay is 0, so the moments are those of the gradient."""
        model = nn.Linear(2, 2, bias=False)
        weight, gradient = torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[1.0, 2.0], [2.0, 6.0]])
        with torch.no_grad():
            model.weight.copy_(weight)
        (walked,) = walk(model, build("adafactor", model, learning_rate=0.1, weight_decay=0.5), [[gradient]])
        rows, columns = torch.tensor([[5.0], [40.0]]), torch.tensor([[5.0, 40.0]])  # sums of squares
        update = gradient / (rows @ columns / 45.0).sqrt()
        update = update / max(1.0, update.square().mean().sqrt().item())
        relative = 0.1 * 2.5  # root mean square of the weight
        assert torch.allclose(walked, weight * (1 - 0.1 * 0.5) - relative * update)


class TestLion:
    def test_it_walks_as_the_one_of_pytorch_optimizer(self) -> None:
        from pytorch_optimizer import Lion as LibraryLion

        ours, theirs = same_layer(2)
        steps = gradients(ours, 20)
        decay = [{"params": [theirs.weight], "weight_decay": 0.3}, {"params": [theirs.bias], "weight_decay": 0.0}]
        expected = walk(theirs, [LibraryLion(decay, lr=0.003, betas=(0.9, 0.99))], steps)
        for mine, other in zip(walk(ours, build("lion", ours), steps), expected, strict=True):
            assert torch.allclose(mine, other, rtol=1e-6, atol=1e-7)

    def test_three_steps_by_hand(self) -> None:
        """Chen et al. 2023, algorithm 2: a large gradient outweighs the momentum's sign, a small one does not."""
        model = nn.Linear(1, 1, bias=False)
        nn.init.constant_(model.weight, 2.0)
        steps = [1.0, -0.05, -0.2]
        (walked,) = walk(
            model, build("lion", model, learning_rate=0.1, weight_decay=0.5), [[torch.tensor([[g]])] for g in steps]
        )
        # momentum before each step: 0, 0.01, 0.0094; interpolated: 0.1, 0.009 - 0.005, 0.00846 - 0.02
        weight = 2.0 * 0.95 - 0.1
        weight = weight * 0.95 - 0.1
        weight = weight * 0.95 + 0.1
        assert walked.item() == pytest.approx(weight)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_factor_scales_every_groups_own_peak(tiny_model, name: str) -> None:
    optimizers = build(name, tiny_model(0))
    peaks = [OPTIMIZERS[name]["learning_rate"]] * 2 + ([0.02] if name == "muon" else [])
    for factor in (0.5, 0.1, 1.0):  # not compounded
        set_learning_rate_factor(optimizers, factor)
        rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
        assert rates == pytest.approx([peak * factor for peak in peaks])


def test_gradients_are_scaled_to_the_largest_norm_allowed() -> None:
    first, second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(2))

    def clip(max_norm: float) -> tuple[float, list[float]]:
        first.grad, second.grad = torch.tensor([3.0]), torch.tensor([0.0, 4.0])
        return clip_gradients([first, second], max_norm), [*first.grad.tolist(), *second.grad.tolist()]

    norm, scaled = clip(1.0)
    assert norm == pytest.approx(5.0)
    assert scaled == pytest.approx([0.6, 0.0, 0.8], rel=1e-5)
    assert clip(6.0) == (5.0, [3.0, 0.0, 4.0])
