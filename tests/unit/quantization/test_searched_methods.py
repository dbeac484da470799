"""AWQ, SmoothQuant and HQQ against independent computations of what their papers define."""

import pytest
import torch
from tests.unit.model.shapes import decoder
from tests.unit.model.shapes import ids as decoder_ids
from tests.unit.quantization.test_methods import correlated_inputs, weights
from tests.unit.quantization.test_model import IDS, make_model
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM, Qwen2Config, Qwen2ForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from forgeline.core.errors import DataError, ParamsError
from forgeline.quantization.activations import InputStatistics, first_inputs, observe
from forgeline.quantization.awq import CLIPS, NUM_RATIOS, clip_weights, search_scale
from forgeline.quantization.compressed import save_quantized
from forgeline.quantization.grid import fit_grid
from forgeline.quantization.hqq import NORM, norm_error, quantize_hqq, shrink
from forgeline.quantization.quantize import decoder_linears, quantize_model
from forgeline.quantization.rtn import quantize_rtn
from forgeline.quantization.smoothing import fold, linear_groups, norm_groups
from forgeline.quantization.smoothquant import smoothing_scale
from forgeline.quantization.spec import parse


class NoTokenizer:
    def save_pretrained(self, target):
        pass


def statistics_of(x):
    statistics = InputStatistics.zero(x.shape[1], x.device)
    for part in x.split(150):
        statistics.add(part)
    return statistics


def with_outliers(size=32):
    x = correlated_inputs(size)
    x[:, 3] *= 30
    x[:, 17] *= 12
    return x


def output_error(x, weight, approximation):
    return float((x @ (approximation - weight)).pow(2).sum())


def test_statistics_are_those_of_all_rows():
    x = with_outliers()
    statistics = statistics_of(x)
    assert torch.allclose(statistics.gram, x.double().T @ x.double(), rtol=1e-4, atol=1e-1)
    assert torch.allclose(statistics.mean, x.abs().mean(0), rtol=1e-5)
    assert torch.equal(statistics.largest, x.abs().amax(0))
    scale = torch.linspace(0.5, 3, 32)
    halved = statistics.divided(scale)
    assert torch.allclose(halved.gram, (x / scale).double().T @ (x / scale).double(), rtol=1e-4, atol=1e-1)
    assert torch.allclose(halved.largest, (x / scale).abs().amax(0))


@pytest.mark.parametrize("tag", ["AWQ_w4_g16_headfp32", "AWQ_w4_g8_asym_headfp32"])
def test_awq_finds_the_scale_that_brute_force_finds(tag):
    spec, x, readers = parse(tag), with_outliers(), [weights(12), weights(8, seed=5)]
    errors = []
    for step in range(NUM_RATIOS):
        scale = x.abs().mean(0) ** (step / NUM_RATIOS)
        scale = scale / (scale.max() * scale.min()).sqrt()
        rounded = [quantize_rtn(weight * scale, spec).dequantize() for weight in readers]
        # as the layer runs: scaled weights on inputs that were divided
        errors.append(
            sum(float(((x / scale) @ q.T - x @ w.T).pow(2).sum()) for q, w in zip(rounded, readers, strict=True))
        )
    best = min(range(NUM_RATIOS), key=errors.__getitem__)
    assert best > 0, "the outliers must make scaling worth while, or the test shows nothing"
    expected = x.abs().mean(0) ** (best / NUM_RATIOS)
    found = search_scale(readers, statistics_of(x), spec)
    assert torch.allclose(found, expected / (expected.max() * expected.min()).sqrt(), rtol=1e-4)


def test_awq_clips_to_the_best_share_of_each_group():
    spec, x, weight = parse("AWQ_w4_g8_headfp32"), correlated_inputs(16), weights(6, 16)
    weight[2, 3] = 9.0  # one outlier widens the grid of its whole group
    clipped = clip_weights(weight, statistics_of(x), spec)
    for start in (0, 8):
        group, inputs = weight[:, start : start + 8], x[:, start : start + 8]
        for row in range(6):
            limit = group[row].abs().max()
            candidates = [group[row : row + 1].clamp(-share * limit, share * limit) for share in CLIPS]
            errors = [output_error(inputs, group[row], quantize_rtn(c, spec).dequantize()[0]) for c in candidates]
            best = min(range(len(CLIPS)), key=errors.__getitem__)
            chosen = output_error(
                inputs, group[row], quantize_rtn(clipped[row : row + 1, start : start + 8], spec).dequantize()[0]
            )
            assert chosen == pytest.approx(errors[best], rel=1e-3)
    assert not torch.equal(clipped, weight)


def test_smoothing_by_hand():
    weight = torch.tensor([[1.0, -4.0], [0.5, 2.0]])
    scale = smoothing_scale([weight, torch.tensor([[2.0, 1.0]])], torch.tensor([32.0, 4.0]), 0.5)
    assert scale.tolist() == [4.0, 1.0]  # sqrt(32 / 2), sqrt(4 / 4)
    assert smoothing_scale([weight], torch.tensor([8.0, 0.0]), 1.0).tolist() == pytest.approx([8.0, 1e-5])


def qwen2():
    torch.manual_seed(3)
    config = Qwen2Config(
        vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=32, initializer_range=0.2,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).eval()


@pytest.mark.parametrize(
    "build",
    [
        make_model,
        qwen2,  # biases of queries, keys and values
        lambda: decoder(norm="layernorm", mlp_bias=True, attention_bias=True, num_key_value_heads=4),
        lambda: decoder(activation="gelu", qk_norm=True),
    ],
    ids=["llama", "qwen2", "layernorm", "gelu"],
)
def test_folding_scales_changes_nothing(build):
    model, generator = build(), torch.Generator().manual_seed(1)
    batch = IDS[:4] if model.config.vocab_size == 40 else decoder_ids(4, 16)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # biases start at 0 and gains at 1, which would hide an error
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
        before, num_groups = model(batch).logits, 0
        for layer in model.get_decoder().layers:
            for group in (*norm_groups(layer), *linear_groups(layer)):
                size = group.readers[0].in_features
                fold(group, torch.rand(size, generator=generator) * 3 + 0.3)
                num_groups += 1
        after = model(batch).logits
    assert torch.allclose(after, before, atol=2e-4)
    assert num_groups >= 4


def test_families_whose_norms_are_not_known_are_refused():
    config = Gemma2Config(
        vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=16,
    )  # fmt: skip
    model = Gemma2ForCausalLM(config)
    with pytest.raises(ParamsError, match=r"awq has to know .* for llama, .* not for gemma2: take method rtn, gptq"):
        quantize_model(model, parse("AWQ_w4_g16_headbf16"), IDS)


def per_token(x):
    """8 bits with a scale for each row, as SmoothQuant's activations."""
    scale = x.abs().amax(-1, keepdim=True) / 127.5
    return (x / scale).round().clamp(-128, 127) * scale


def per_head(x):
    """The same with a scale for each row and head [B, H] of keys or values [B, H, T, E]."""
    return per_token(x.flatten(2)).reshape(x.shape)


def test_smoothquant_loads_with_its_activations_rounded(tmp_path):
    spec, model = parse("SMOOTHQUANT_w8_a8_headfp32_alpha0.5"), make_model()
    quantized = quantize_model(model, spec, IDS)
    save_quantized(model, quantized, spec, NoTokenizer(), tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(str(tmp_path), dtype=torch.float32)
    with torch.no_grad():
        weights_only = model(IDS[:4]).logits
        handles = [
            module.register_forward_pre_hook(lambda _, arguments: (per_token(arguments[0]),))
            for _, module in decoder_linears(model)
        ]
        expected = model(IDS[:4]).logits
        for handle in handles:
            handle.remove()
        found = loaded(IDS[:4]).logits
    assert torch.allclose(found, expected, atol=2e-3)
    assert (found - weights_only).abs().max() > 5e-3, "activations must be rounded too"


def test_smoothquant_needs_less_precision_for_outliers():
    """One feature 100 times as large as the others: without smoothing it takes all the steps."""
    x, weight, spec = correlated_inputs(32), weights(), parse("RTN_w8_headfp32")
    x[:, 5] *= 100

    def error(scale):
        return output_error_of(per_token(x / scale), quantize_rtn(weight * scale, spec).dequantize())

    def output_error_of(inputs, approximation):
        return float((inputs @ approximation.T - x @ weight.T).pow(2).sum())

    assert error(smoothing_scale([weight], x.abs().amax(0), 0.5)) < 0.25 * error(torch.ones(32))


def test_keys_and_values_are_rounded_by_transformers_alone(tmp_path):
    spec, model = parse("RTN_w8_kv8_g16_headfp32"), make_model()
    save_quantized(model, quantize_model(model, spec, None), spec, NoTokenizer(), tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(str(tmp_path), dtype=torch.float32)
    plain_sdpa = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def rounded(module, query, key, value, *arguments, **named):
        return plain_sdpa(module, query, per_head(key), per_head(value), *arguments, **named)

    ALL_ATTENTION_FUNCTIONS["rounded_kv"] = rounded
    with torch.no_grad():
        plain = model(IDS[:4]).logits
        model.config._attn_implementation = "rounded_kv"
        expected = model(IDS[:4]).logits
        found = loaded(IDS[:4]).logits
    assert torch.allclose(found, expected, atol=2e-3)
    assert (found - plain).abs().max() > 2 * (found - expected).abs().max()


def test_hqq_thresholds_by_hand():
    """|x| - |x|^-0.3 / 10 beyond the threshold, else 0."""
    errors = torch.tensor([0.05, -0.4, 1.0])
    assert shrink(errors, 10.0).tolist() == pytest.approx([0.0, -(0.4 - 0.4**-0.3 / 10), 0.9], rel=1e-5)


@pytest.mark.parametrize("tag", ["HQQ_w4_g16_headfp32", "HQQ_w4_g16_asym_headfp32", "HQQ_w4_asym_headbf16"])
def test_hqq_lowers_its_norm_in_every_group(tag):
    spec = parse(tag)
    heavy_tailed = weights(24, 32) ** 3
    groups = heavy_tailed.reshape(-1, spec.group_size or 32)
    unit = fit_grid(groups, spec).scale

    def errors(quantized):
        return (((quantized.dequantize() - heavy_tailed).reshape(groups.shape) / unit).abs() ** NORM).sum(1)

    found, rounding = errors(quantize_hqq(heavy_tailed, spec)), errors(quantize_rtn(heavy_tailed, spec))
    assert (found <= rounding + 1e-4).all()
    assert found.sum() < 0.97 * rounding.sum()
    assert torch.allclose(norm_error(groups, fit_grid(groups, spec), unit)[:, 0], rounding, atol=1e-3)


def test_hqq_is_near_the_best_grid_of_a_dense_search():
    """For single groups: no scale and zero point out of 2,000 do much better."""
    spec = parse("HQQ_w4_g16_asym_headfp32")
    heavy_tailed = weights(8, 16) ** 3
    first = fit_grid(heavy_tailed, spec)

    def error(scale, zero_point):
        codes = (heavy_tailed / scale + zero_point).round().clamp(-8, 7)
        return (((codes - zero_point) * scale - heavy_tailed) / first.scale).abs().pow(NORM).sum(1)

    best = torch.full((8,), float("inf"))
    for share in torch.linspace(0.4, 1.1, 125):
        for zero_point in range(-8, 8):
            best = torch.minimum(best, error(first.scale * share, float(zero_point)))
    found = quantize_hqq(heavy_tailed, spec)
    start = norm_error(heavy_tailed, first, first.scale)[:, 0].sum()
    reached = error(found.scales, found.zero_points.float()).sum()
    assert start - reached > 0.4 * (start - best.sum())


@pytest.mark.parametrize("method", ["AWQ", "HQQ"])
def test_searching_beats_rounding(method):
    original, errors = make_model(), {}
    with torch.no_grad():
        original.model.layers[0].input_layernorm.weight[4] = 12.0  # an outlier feature, as large models have
        expected = original(IDS).logits
        for name in ("RTN", method):
            model = make_model()
            model.load_state_dict(original.state_dict())
            quantize_model(model, parse(f"{name}_w4_g16_asym_headbf16"), IDS if name == "AWQ" else None)
            errors[name] = float((model(IDS).logits - expected).pow(2).mean())
    assert errors[method] < errors["RTN"]


def test_what_is_not_a_number_is_refused_while_calibrating():
    model = make_model()
    with torch.no_grad():
        model.model.embed_tokens.weight[7] = float("nan")
    with pytest.raises(DataError, match=r"inputs of layer model.layers.0.self_attn.q_proj are not numbers"):
        quantize_model(model, parse("AWQ_w4_g16_headbf16"), IDS)


def test_every_method_sees_the_same_first_inputs():
    """The layer's outputs of one pass are what the next layer is fed by the model itself."""
    model = make_model()
    with torch.no_grad():
        layers = model.model.layers
        inputs = first_inputs(model, layers[0], IDS)
        _, outputs = observe(layers[0], [], inputs)
        states = model(IDS, output_hidden_states=True, use_cache=False).hidden_states[1]
    assert torch.allclose(torch.cat([hidden for hidden, _ in outputs]), states, atol=1e-5)
