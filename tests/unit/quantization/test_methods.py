import pytest
import torch
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
from compressed_tensors.quantization.utils import calculate_qparams
from hypothesis import given, settings
from hypothesis import strategies as st

from forgeline.quantization.gptq import DAMPENING, quantize_gptq
from forgeline.quantization.grid import fit_grid
from forgeline.quantization.rtn import quantize_rtn
from forgeline.quantization.spec import QuantizationSpec, parse


def correlated_inputs(size, rows=400, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=generator) * torch.linspace(2, 0.1, size)
    return torch.randn(rows, size, generator=generator) @ mixing


def weights(outputs=12, inputs=32, seed=1):
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed))


def test_rounding_by_hand():
    weight = torch.tensor([[-7.5, 0.4, 0.6, 7.5]])  # scale 7.5 / 7.5 = 1
    result = quantize_rtn(weight, parse("RTN_w4_g4_headfp32"))
    assert result.codes.tolist() == [[-8, 0, 1, 7]]  # 7.5 rounds to 8, which is beyond the largest code
    assert result.scales.tolist() == [[1.0]]
    asymmetric = quantize_rtn(torch.tensor([[0.0, 15.0, 3.2, 30.0]]), parse("RTN_w4_g4_asym_headfp32"))
    assert asymmetric.scales.tolist() == [[2.0]]
    assert asymmetric.zero_points.tolist() == [[-8]]
    assert asymmetric.codes.tolist() == [[-8, 0, -6, 7]]  # 15 / 2 is a tie and goes to the even 8
    assert asymmetric.dequantize().tolist() == [[0.0, 16.0, 4.0, 30.0]]


@pytest.mark.parametrize("tag", ["RTN_w4_g8_headfp32", "RTN_w8_g16_headfp32", "RTN_w4_g8_asym_headfp32"])
def test_rtn_equals_compressed_tensors(tag):
    spec, weight = parse(tag), weights()
    args = QuantizationArgs(num_bits=spec.bits, symmetric=spec.symmetric, group_size=spec.group_size, strategy="group")
    groups = weight.reshape(len(weight), -1, spec.group_size)
    scale, zero_point = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
    result = quantize_rtn(weight, spec)
    assert torch.equal(result.scales, scale)
    assert torch.equal(result.zero_points, zero_point)
    codes = quantize(weight, scale, zero_point, args, dtype=torch.int8)
    assert torch.equal(result.codes, codes)
    assert torch.allclose(result.dequantize(), dequantize(codes, scale, zero_point, args))


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from([4, 8]), st.booleans(), st.sampled_from(["bf16", "fp32"]))
def test_no_weight_moves_by_more_than_a_step(seed, bits, symmetric, head_dtype):
    spec = QuantizationSpec("rtn", bits, head_dtype, 8, symmetric)
    weight = weights(seed=seed)
    result = quantize_rtn(weight, spec)
    step = result.scales.float().repeat_interleave(8, dim=1)
    bound = {"fp32": 0.501, "bf16": 0.501 + 2**bits / 256}[head_dtype]  # a scale in bf16 may be 1/256 too small
    assert ((weight - result.dequantize()).abs() <= bound * step + 1e-6).all()
    low, high = spec.code_range
    assert low <= result.codes.min()
    assert result.codes.max() <= high


def test_a_group_of_zeros_stays_zero():
    assert quantize_rtn(torch.zeros(2, 8), parse("RTN_w4_g8_headbf16")).dequantize().tolist() == [[0.0] * 8] * 2


def naive_gptq(weight, hessian, spec):
    """Optimal brain quantization in fixed order, inverting the remaining Hessian anew for every column."""
    weight, hessian = weight.double().clone(), hessian.double().clone()
    hessian += DAMPENING * hessian.diag().mean() * torch.eye(len(hessian))
    codes = torch.zeros_like(weight)
    for column in range(weight.shape[1]):
        if column % spec.group_size == 0:
            grid = fit_grid(weight[:, column : column + spec.group_size].float(), spec)
        inverse = torch.linalg.inv(hessian[column:, column:])
        codes[:, column] = grid.encode(weight[:, column : column + 1].float())[:, 0]
        error = weight[:, column] - grid.decode(codes[:, column : column + 1].float())[:, 0]
        weight[:, column:] -= error[:, None] * inverse[0][None] / inverse[0, 0]
    return codes


@pytest.mark.parametrize("inputs", [32, 192])  # within a block of 128 columns, and over two
def test_gptq_equals_its_definition(inputs):
    spec, weight, x = parse("GPTQ_w4_g16_headfp32"), weights(8, inputs), correlated_inputs(inputs)
    codes = quantize_gptq(weight, x.T @ x, spec).codes.double()
    differing = (codes != naive_gptq(weight, x.T @ x, spec)).double().mean()
    assert differing < 0.005  # float32 against float64: a rare tie may fall the other way


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tag", ["GPTQ_w4_g16_headbf16", "GPTQ_w8_g32_headbf16", "GPTQ_w4_g32_asym_headfp32"])
def test_gptq_has_less_output_error_than_rounding(tag, seed):
    spec, weight, x = parse(tag), weights(16, 64, seed), correlated_inputs(64, seed=seed)

    def output_error(quantized):
        return float((x @ (quantized.dequantize() - weight).T).pow(2).sum())

    assert output_error(quantize_gptq(weight, x.T @ x, spec)) < 0.8 * output_error(quantize_rtn(weight, spec))


def test_gptq_without_correlations_is_rounding():
    spec, weight = parse("GPTQ_w4_g16_headfp32"), weights()
    assert torch.equal(quantize_gptq(weight, torch.eye(32), spec).codes, quantize_rtn(weight, spec).codes)


def test_inputs_that_never_fire_cost_nothing():
    x = correlated_inputs(32)
    x[:, 5] = 0
    result = quantize_gptq(weights(), x.T @ x, parse("GPTQ_w4_g16_headfp32"))
    assert result.codes[:, 5].abs().max() == 0
    assert torch.isfinite(result.dequantize()).all()
