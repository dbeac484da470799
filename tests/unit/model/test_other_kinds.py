"""What comes after pretraining works with our decoder and other families as with a Llama, or says that it does not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from tests.unit.model.shapes import POSITIONS, decoder_params, ids, train
from tests.unit.model.test_families import FAMILIES, family
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from forgeline.core.errors import ParamsError
from forgeline.evaluation.likelihood import Span, span_logps
from forgeline.inference.engine import generate
from forgeline.model.build import build_model
from forgeline.model.loading import load_model, save_model_files
from forgeline.model.merge import merge
from forgeline.model.merge_params import MergeGateParams
from forgeline.model.params import Architecture, ComputeParams
from forgeline.model.traits import require_branches
from forgeline.quantization.compressed import save_quantized
from forgeline.quantization.quantize import quantize_model
from forgeline.quantization.spec import QuantizationSpec
from forgeline.training.lora import lora_config
from forgeline.training.params.lora import LoraParams
from forgeline.training.reinforce.sequences import Answer, Group, answer_log_probabilities, answered_ids

CPU = torch.device("cpu")
ALL_CHOICES: dict[str, Any] = {
    "norm": "layernorm", "activation": "gelu", "attention_bias": True, "mlp_bias": True, "sliding_window": 5,
    "qk_norm": True,
}  # fmt: skip
DECODERS = {name: decoder_params(positions=POSITIONS[name], **ALL_CHOICES) for name in POSITIONS}
OTHERS = {name: family(name, **sizes) for name, sizes in FAMILIES.items()}
GPT2 = family("gpt2", n_embd=32, n_layer=2, n_head=4, n_positions=64)


@pytest.fixture
def build(tokenizer):
    def make(params: Architecture) -> PreTrainedModel:
        torch.manual_seed(0)
        return build_model(params, tokenizer).eval()

    return make


def spec(method: Any) -> QuantizationSpec:
    return QuantizationSpec(method=method, bits=8, group_size=8, symmetric=True, head_dtype="fp32")


@pytest.mark.parametrize("method", ["rtn", "gptq"])
@pytest.mark.parametrize("name", [*DECODERS, "mixtral", "deepseek_v3", "qwen3", "gemma2", "gemma3_text"])
def test_a_quantized_folder_loads_as_what_was_quantized(name: str, method: str, build, tokenizer, tmp_path) -> None:
    model = build({**DECODERS, **OTHERS}[name])
    with torch.no_grad():
        before = model(ids(2, 9)).logits
        weights = quantize_model(model, spec(method), ids(4, 12) if method == "gptq" else None)
        after = model(ids(2, 9)).logits
        save_quantized(model, weights, spec(method), tokenizer, tmp_path)
        assert torch.equal(load_model(tmp_path, CPU)(ids(2, 9)).logits, after)
    assert 0 < (after - before).abs().max() < 0.1 * before.abs().max()


@pytest.mark.parametrize("params", [OTHERS["mamba2"], GPT2], ids=["mamba2", "gpt2"])
def test_what_cannot_be_quantized_is_refused(params: Architecture, build) -> None:
    with pytest.raises(ParamsError, match=f"a {params.model_type} model cannot be quantized here"):
        quantize_model(build(params), spec("rtn"), None)


@pytest.mark.parametrize("name", [*DECODERS, "mixtral", "deepseek_v3", "qwen3", "gemma2", "gemma3_text"])
def test_an_adapter_learns_is_loaded_from_its_chain_and_merges(
    name: str, build, tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = build({**DECODERS, **OTHERS}[name])
    save_model_files(model, tokenizer, Path("models/base"))
    targets = ["q_b_proj" if name == "deepseek_v3" else "q_proj", "o_proj"]
    params = LoraParams(r=2, alpha=4, dropout=0.0, target_modules=targets)
    adapted = get_peft_model(model, lora_config(model, params))
    adapted.peft_config["default"].base_model_name_or_path = "models/base"
    train(adapted, ids(2, 9), 2)
    save_model_files(adapted, tokenizer, Path("models/adapter"))
    with torch.no_grad():
        logits = adapted.eval()(input_ids=ids(2, 9)).logits
        loaded = load_model(Path("models/adapter"), CPU)
        assert torch.equal(loaded(input_ids=ids(2, 9)).logits, logits)
    answers = generate(
        loaded, [[5, 6, 7], [8]], max_new_tokens=3, stop_token_ids=(), pad_token_id=1, temperature=0.0, generator=None,
        batch_tokens=100,
    )  # fmt: skip
    merged = merge(loaded, ids(2, 9), MergeGateParams(max_logit_difference=1e-3, num_windows=1))
    assert merged.num_tensors_out < merged.num_tensors_in
    assert [len(answer.output_ids) for answer in answers] == [3, 3]


def test_an_adapter_for_layers_that_the_architecture_lacks_is_refused(build) -> None:
    params = LoraParams(r=2, alpha=4, dropout=0.0, target_modules=["q_proj", "gate_proj"])
    with pytest.raises(ParamsError, match="the model has no layer gate_proj: remove it"):
        lora_config(build(DECODERS["alibi"]), params)


@pytest.mark.parametrize("name", DECODERS)
def test_a_reward_head_reads_the_last_token(name: str, build, tokenizer, tmp_path: Path) -> None:
    model = build(DECODERS[name])
    save_model_files(model, tokenizer, tmp_path)
    scorer = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=1, pad_token_id=1).eval()
    rows = ids(2, 9)
    with torch.no_grad():
        states = model.model(rows).last_hidden_state[:, -1]
        torch.testing.assert_close(scorer(rows).logits, scorer.score(states))


@pytest.mark.parametrize("name", [*DECODERS, *OTHERS])
def test_likelihoods_are_those_of_the_whole_distribution(name: str, build) -> None:
    model = build({**DECODERS, **OTHERS}[name])
    spans = [Span(ids(12).tolist(), 4), Span(ids(7, seed=3).tolist(), 6), Span(ids(3, seed=4).tolist(), 1)]
    for span, found in zip(spans, span_logps(model, spans, batch_tokens=100), strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([span.input_ids]), use_cache=False).logits[0].log_softmax(-1)
        naive = [float(logits[place - 1, span.input_ids[place]]) for place in range(span.start, len(span.input_ids))]
        assert found.tolist() == pytest.approx(naive, abs=1e-4)


@pytest.mark.parametrize("name", [*DECODERS, "mixtral", "deepseek_v3", "qwen3", "gemma2", "gemma3_text"])
def test_answers_that_share_a_row_with_their_prompt_are_scored_as_if_alone(name: str, build) -> None:
    """Positions and window go by the place in the answer, not by that in the row."""
    model = build({**DECODERS, **OTHERS}[name])
    answers = [(7, 8, 9), (10,), (11, 12)]
    group = Group((3, 4, 5, 6), [Answer(answer, 0.0, 1) for answer in answers])
    compute = ComputeParams(num_threads=1, precision="fp32")
    with torch.no_grad():
        groups = [group, Group((9, 9), group.answers)]
        everything = answer_log_probabilities(model, groups, 1.0, compute)
        found = everything.gather(1, answered_ids(groups, everything.device)[:, None]).squeeze(1)
        naive = []
        for prompt in (group.prompt_ids, (9, 9)):
            for answer in answers:
                logps = model(torch.tensor([[*prompt, *answer]]), use_cache=False).logits[0].log_softmax(-1)
                naive += [logps[len(prompt) - 1 + place, token] for place, token in enumerate(answer)]
    torch.testing.assert_close(found, torch.stack(naive), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["mamba2", "bloom"])
def test_what_cannot_share_a_prompt_is_refused(name: str, build) -> None:
    params = OTHERS.get(name) or family("bloom", hidden_size=32, n_layer=2, n_head=4)
    with pytest.raises(
        ParamsError, match=f"reinforce.grpo: a {name} model cannot run several answers after one prompt"
    ):
        require_branches(build(params), "reinforce.grpo")
