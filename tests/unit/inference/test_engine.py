import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from forgeline.core.errors import DataError
from forgeline.inference.engine import _invert_cdf, generate

VOCABULARY = 61
PROMPTS = [[5, 9, 11], [7], [3, 3, 8, 20, 41, 2, 17], [60, 1, 4, 4, 30], [12, 13], [5, 9, 11, 6]]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.4,  # peaked distributions, so that rounding cannot flip an argmax
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


def greedy(model, prompts, *, stop=(), new=12, batch_tokens=64):
    return generate(
        model,
        prompts,
        max_new_tokens=new,
        stop_token_ids=stop,
        pad_token_id=0,
        temperature=0.0,
        generator=None,
        batch_tokens=batch_tokens,
    )


def sampled(model, prompts, seed, *, temperature=1.0, new=6, batch_tokens=10_000, stop=()):
    return generate(
        model,
        prompts,
        max_new_tokens=new,
        stop_token_ids=stop,
        pad_token_id=0,
        temperature=temperature,
        generator=torch.Generator().manual_seed(seed),
        batch_tokens=batch_tokens,
    )


def library_greedy(model, prompt, new, stop):
    output = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=new,
        do_sample=False,
        eos_token_id=list(stop) or None,
        pad_token_id=0,
    )
    return output[0, len(prompt) :].tolist()


def test_greedy_equals_the_library_token_by_token(model):
    assert [g.output_ids for g in greedy(model, PROMPTS)] == [library_greedy(model, p, 12, ()) for p in PROMPTS]


def test_rows_end_at_their_stop_token_and_keep_it(model):
    free = greedy(model, PROMPTS)
    stop = [free[2].output_ids[1], free[3].output_ids[4]]
    written = greedy(model, PROMPTS, stop=stop)
    assert [g.output_ids for g in written] == [library_greedy(model, p, 12, stop) for p in PROMPTS]
    assert len({len(g.output_ids) for g in written}) > 1  # rows did leave the batch at different steps
    for cut, whole in zip(written, free, strict=True):
        assert cut.output_ids == whole.output_ids[: len(cut.output_ids)]
        assert cut.logps == pytest.approx(whole.logps[: len(cut.logps)], abs=1e-5)


@pytest.mark.parametrize("batch_tokens", [1, 40, 10_000])
def test_batch_composition_changes_nothing(model, batch_tokens):
    alone = [greedy(model, [prompt])[0].output_ids for prompt in PROMPTS]
    assert [g.output_ids for g in greedy(model, PROMPTS, batch_tokens=batch_tokens)] == alone
    assert [g.output_ids for g in sampled(model, PROMPTS, 5, batch_tokens=batch_tokens)] == [
        g.output_ids for g in sampled(model, PROMPTS, 5)
    ]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_logps_are_those_of_the_distribution_sampled_from(model, temperature):
    for prompt, written in zip(PROMPTS, sampled(model, PROMPTS, 1, temperature=temperature), strict=True):
        ids = torch.tensor([prompt + written.output_ids])
        logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
        expected = (logits / temperature).log_softmax(-1).gather(1, ids[0, len(prompt) :, None]).squeeze(1)
        assert written.logps == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_sampling_frequencies_match_the_softmax(model, temperature):
    count = 20_000
    written = sampled(model, [[5, 9, 11]] * count, 7, temperature=temperature, new=1, batch_tokens=1_000_000)
    observed = torch.bincount(torch.tensor([g.output_ids[0] for g in written]), minlength=VOCABULARY).double()
    logits = model(input_ids=torch.tensor([[5, 9, 11]])).logits[0, -1]
    expected = (logits.double() / temperature).softmax(-1) * count
    frequent = expected > 20
    chi_square = ((observed - expected) ** 2 / expected)[frequent].sum().item()
    degrees = int(frequent.sum()) - 1
    assert degrees > 3
    assert chi_square < degrees + 5 * (2 * degrees) ** 0.5
    assert (observed - expected).abs().max() < 5 * count**0.5


def test_same_generator_same_samples_other_seed_others(model):
    first = sampled(model, PROMPTS, 1)
    assert first == sampled(model, PROMPTS, 1)
    assert first != sampled(model, PROMPTS, 2)


def test_the_training_mode_is_restored(model):
    model.train()
    try:
        greedy(model, [[1, 2]])
        assert model.training
    finally:
        model.eval()


def test_errors_name_what_to_do(model):
    with pytest.raises(DataError, match="prompt 1 is empty"):
        greedy(model, [[1], []])
    with pytest.raises(DataError, match=r"60 tokens and max_new_tokens is 12.*max_position_embeddings 64"):
        greedy(model, [[1] * 60])


def test_logits_that_are_not_numbers_are_an_error(model):
    weight = model.model.norm.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight[0] = float("nan")
    try:
        with pytest.raises(DataError, match="not numbers"):
            greedy(model, [[1, 2]])
        with pytest.raises(DataError, match="not numbers"):
            sampled(model, [[1, 2]], 0)
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def test_a_token_of_probability_zero_is_never_drawn():
    probabilities = torch.tensor([[0.0, 0.3, 0.0, 0.7, 0.0]]).expand(4, 5)
    drawn = _invert_cdf(probabilities, torch.tensor([0.0, 0.29, 0.31, 1.0]))
    assert drawn.tolist() == [1, 1, 3, 3]
