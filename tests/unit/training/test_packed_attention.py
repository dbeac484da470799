"""Packed rows: every conversation has the loss and the gradients that it has alone, in every family."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel

from forgeline.core.errors import ParamsError
from forgeline.training.packed_batches import PackedCollator
from forgeline.training.packed_trainer import embedding_noise
from forgeline.training.segmented_attention import attend_segments, attending, packed_attention, segment_arguments
from forgeline.training.trl.held_out import IGNORED

SEGMENTS = "forgeline_segments"
LENGTHS = (5, 9, 1, 12)
SIZES = {"vocab_size": 40, "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
LLAMA = {
    **SIZES,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
FAMILIES = {
    "llama": LLAMA,
    "qwen2": LLAMA,
    "mistral": {**LLAMA, "sliding_window": 4},
    "phi": LLAMA,
    "gpt2": {**SIZES, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "attn_pdrop": 0.0},
    "gemma2": {**LLAMA, "head_dim": 4, "sliding_window": 4},
    "bloom": {"vocab_size": 40, "hidden_size": 16, "n_layer": 1, "n_head": 2, "pad_token_id": 0},
}


def model_of(family: str) -> PreTrainedModel:
    """Of random weights, biases too, large enough for positions and neighbours to matter."""
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**FAMILIES[family])).eval()
    for weights in model.parameters():
        nn.init.normal_(weights, std=0.3)
    return model


def conversations(seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(1, 40, (length,), generator=generator).tolist() for length in LENGTHS]


def packed(chats: list[list[int]]) -> dict:
    """Of two rows: the first conversation, and all others."""
    return PackedCollator()(
        [
            {
                "input_ids": [token for chat in row for token in chat],
                "labels": [label for chat in row for label in (IGNORED, *chat[1:])],
                "position_ids": [place for chat in row for place in range(len(chat))],
            }
            for row in (chats[:1], chats[1:])
        ]
    )


def gradients(model: PreTrainedModel, loss: Tensor) -> dict[str, Tensor]:
    loss.backward()
    found = {name: weights.grad for name, weights in model.named_parameters() if weights.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("family", ["llama", "qwen2", "mistral", "phi", "gpt2"])
def test_losses_and_gradients_are_those_of_each_conversation_alone(family: str) -> None:
    model, chats = model_of(family), conversations()
    assert packed_attention(model, "sft.packing", in_16_bits=False) == SEGMENTS
    alone = sum(
        nn.functional.cross_entropy(
            model(torch.tensor([chat])).logits[0, :-1], torch.tensor(chat[1:], dtype=torch.long), reduction="sum"
        )
        for chat in chats
    )
    expected = gradients(model, alone)
    batch = packed(chats)
    labels = batch.pop("labels")
    with attending(model, SEGMENTS):
        logits = model(**batch, use_cache=False).logits
    loss = nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=IGNORED, reduction="sum")
    torch.testing.assert_close(loss, alone, rtol=1e-5, atol=0.0)
    found = gradients(model, loss)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-5 * max(scale, 1.0), msg=name)


def test_another_neighbour_changes_no_bit() -> None:
    model, chats = model_of("llama"), conversations()
    start = LENGTHS[0]
    with torch.no_grad(), attending(model, SEGMENTS):
        logits = []
        for first in (chats[0], conversations(1)[0]):
            batch = packed([first, *chats[1:]])
            del batch["labels"]
            logits.append(model(**batch, use_cache=False).logits[0])
    assert torch.equal(logits[0][start:], logits[1][start:])
    assert not torch.equal(logits[0][:start], logits[1][:start])


def test_no_scores_between_conversations_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = nn.functional.scaled_dot_product_attention

    def watched(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **named: object) -> Tensor:
        sizes.append((query.size(2), key.size(2), attn_mask))
        return real(query, key, value, attn_mask=attn_mask, **named)

    model, batch = model_of("llama"), packed(conversations())
    del batch["labels"]
    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", watched)
    with torch.no_grad(), attending(model, SEGMENTS):
        model(**batch, use_cache=False)
    assert sizes == [(length, length, None) for length in LENGTHS] * 2
    assert model.config._attn_implementation == "sdpa"  # as before


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.sampled_from([(2, 2), (4, 2), (3, 1)]),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([None, 0.7]),
)
@settings(max_examples=40, deadline=None)
def test_attention_by_its_definition(
    lengths: list[int], heads: tuple[int, int], window: int | None, scaling: float | None
) -> None:
    generator = torch.Generator().manual_seed(sum(lengths))
    count, size = sum(lengths), 4
    query, key, value = (
        torch.randn((1, number, count, size), generator=generator, dtype=torch.float64)
        for number in (heads[0], heads[1], heads[1])
    )
    bounds = segment_arguments(lengths)["cu_seq_lens_q"]
    found, _ = attend_segments(
        nn.Module(), query, key, value, None, scaling=scaling, sliding_window=window, cu_seq_lens_q=bounds
    )
    owner = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    for head in range(heads[0]):
        shared = head // (heads[0] // heads[1])
        for place in range(count):
            seen = [
                other
                for other in range(place + 1)
                if owner[other] == owner[place] and (window is None or place - other < window)
            ]
            scores = key[0, shared, seen] @ query[0, head, place] * (0.5 if scaling is None else scaling)
            torch.testing.assert_close(found[0, place, head], scores.softmax(0) @ value[0, shared, seen])


def test_what_is_not_computed_is_refused() -> None:
    rows = torch.zeros((1, 1, 2, 4))
    bounds = segment_arguments([2])["cu_seq_lens_q"]
    with pytest.raises(ParamsError, match=r"attention with softcap is not computed .*set sft.packing to false"):
        attend_segments(nn.Module(), rows, rows, rows, None, softcap=50.0, cu_seq_lens_q=bounds)
    with pytest.raises(ParamsError, match=r"no bounds of conversations"):
        attend_segments(nn.Module(), rows, rows, rows, None)


def test_capped_scores_are_masked_by_the_library_and_counted_positions_refused(capsys) -> None:
    assert packed_attention(model_of("gemma2"), "sft.packing", in_16_bits=False) == "eager"
    assert "attention of gemma2 is computed over whole micro-batches" in capsys.readouterr().err
    with pytest.raises(ParamsError, match=r"sft.packing: this architecture does not keep"):
        packed_attention(model_of("bloom"), "sft.packing", in_16_bits=False)


def test_noise_has_the_size_of_each_conversation() -> None:
    torch.manual_seed(1)
    layer, lengths = nn.Embedding(3, 64), torch.tensor([4, 100])
    ids = torch.zeros((1, 104), dtype=torch.long)
    with torch.no_grad(), embedding_noise(layer, 5.0, lengths):
        noise = (layer(ids) - layer.weight[0]).abs()[0]
    for part, length in ((noise[:4], 4), (noise[4:], 100)):
        limit = 5.0 / (length * 64) ** 0.5
        assert 0.9 * limit < float(part.max()) <= limit * 1.001
    assert torch.equal(layer(ids)[0, 0], layer.weight[0])  # only within
