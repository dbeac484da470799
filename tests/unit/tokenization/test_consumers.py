"""What reads a tokenizer later works alike with every kind: chats, packing, windows, bits per byte."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.conftest import byte_bpe_params, shards_of
from tests.unit.tokenization.tokenizer_params import (
    adopt_params,
    extend_params,
    sentencepiece_params,
    smollm2_file,
)
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from forgeline.core.storage import write_json
from forgeline.evaluation.params import ScoringParams
from forgeline.evaluation.tasks.base import HeldOut, NgramBaseline, Subject
from forgeline.evaluation.tasks.perplexity import Perplexity
from forgeline.packing.dataset import MANIFEST, TokenDataset
from forgeline.packing.pack import pack
from forgeline.packing.params import PackParams
from forgeline.tokenization.chat import render_conversation, render_prompt, stop_token_ids
from forgeline.tokenization.encoding import CorpusEncoder
from forgeline.tokenization.loading import load_tokenizer
from forgeline.tokenization.train import make_tokenizer

CHAT = [
    {"role": "system", "content": "Be  brief."},
    {"role": "user", "content": " What is it?\n\n"},
    {"role": "assistant", "content": "\n A sign of  disease <|im_end|>"},
    {"role": "user", "content": "of 2"},
    {"role": "assistant", "content": "東京"},
]
DOCUMENTS = ["Abnormal hearing.\n\n  A loss of  hearing in 2 ears.", "", "<|endoftext|> spelled", " leading 東京 ünï\t"]


@pytest.fixture(
    scope="module",
    params=[
        "byte_bpe nfkc",
        "sentencepiece_unigram",
        "sentencepiece_bpe",
        "adopted",
        "llama2",
        "extended",
        pytest.param("smollm2", marks=pytest.mark.slow),
    ],
)
def used(request, origins, llama2_like: Path, medical_shards: list[Path], tmp_path_factory) -> PreTrainedTokenizerBase:
    params = {
        "byte_bpe nfkc": lambda: byte_bpe_params(500, 2, normalization="nfkc", split_digits=True),
        "sentencepiece_unigram": lambda: sentencepiece_params("sentencepiece_unigram"),
        "sentencepiece_bpe": lambda: sentencepiece_params("sentencepiece_bpe"),
        "adopted": lambda: adopt_params(origins["sentencepiece_unigram"]),
        "llama2": lambda: adopt_params(llama2_like),
        "extended": lambda: extend_params(origins["byte_bpe"], 700),
        "smollm2": lambda: adopt_params(smollm2_file()),
    }[request.param]()
    folder = tmp_path_factory.mktemp("used")
    make_tokenizer(medical_shards, params).save(folder)
    return load_tokenizer(folder)


def test_a_prompt_is_the_beginning_of_what_training_saw(used: PreTrainedTokenizerBase) -> None:
    for length in (2, 4):
        prompt = render_prompt(used, CHAT[:length])
        chat = render_conversation(used, CHAT[: length + 1])
        assert chat.input_ids[: len(prompt)] == prompt
        assert chat.assistant_mask[len(prompt) :] == [1] * (len(chat.input_ids) - len(prompt))
        assert chat.input_ids[-1] == used.eos_token_id == used.convert_tokens_to_ids("<|im_end|>")


def test_chats_are_rendered_without_loss(used: PreTrainedTokenizerBase) -> None:
    text = used.apply_chat_template(CHAT, tokenize=False)
    back, expected = used.decode(render_conversation(used, CHAT).input_ids), text.removesuffix("\n")
    normalizer = used.backend_tokenizer.normalizer
    if normalizer and normalizer.normalize_str("a") == "▁a":  # Llama 2 puts a blank before each part of a text
        back, expected = back.replace(" ", ""), expected.replace(" ", "")
    assert back == CorpusEncoder(used).normalize(expected)


def test_generation_stops_at_the_ends_of_turn_and_document_and_padding_is_neither(used) -> None:
    roles = {used.bos_token_id, used.eos_token_id, used.pad_token_id}
    assert len(roles - {None}) == 3
    assert stop_token_ids(used) == sorted({used.bos_token_id, used.eos_token_id})
    assert used.pad_token_id not in render_conversation(used, CHAT).input_ids


def test_documents_are_packed_between_ends_of_document(used, tmp_path: Path) -> None:
    encoder = CorpusEncoder(used)
    params = PackParams(sequence_length=4, dtype="uint16")
    facts = pack(shards_of(tmp_path / "documents", DOCUMENTS), encoder, params, tmp_path, "train")
    described = {**params.model_dump(), "tokenizer": "toy", "weights": {"toy": 1.0}, "train": facts.as_json()}
    write_json(tmp_path / MANIFEST, described)
    stream = TokenDataset(tmp_path, "train").tokens()
    ends = np.fromfile(tmp_path / "train.idx", dtype=np.int64)
    assert (stream == used.bos_token_id).sum() == len(DOCUMENTS) + 1  # what the text spells is text
    for text, (start, end) in zip(DOCUMENTS, pairwise(ends), strict=True):
        ids = stream[start : end - 1].tolist()
        assert used.decode(ids) == encoder.normalize(text)
        assert stream[end - 1] == used.bos_token_id
        assert len(ids) == len(encoder.encode(pa.chunked_array([[text]])).ids)
    assert facts.num_bytes == sum(len(text.encode()) for text in DOCUMENTS)


def test_bits_per_byte_count_the_bytes_of_the_text(used: PreTrainedTokenizerBase) -> None:
    """A model that finds all tokens equally likely needs log2(vocabulary) bits for each, shared among the bytes."""
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(used), max_position_embeddings=64, **shape)).eval()
    torch.nn.init.zeros_(model.lm_head.weight)
    documents = [(str(number), text) for number, text in enumerate(DOCUMENTS) if text]
    scoring = ScoringParams(
        tasks=["perplexity"],
        max_documents=10,
        window_tokens=64,
        batch_tokens=256,
        max_new_tokens=4,
        num_bootstrap=100,
        seed=1,
    )
    result = Perplexity().run(Subject(model, used), HeldOut(documents, [], [], NgramBaseline(3, 2.0)), scoring)
    encoded = CorpusEncoder(used).encode(pa.chunked_array([[text for _, text in documents]]))
    num_tokens = len(encoded.ids) + len(documents)
    num_bytes = sum(len(text.encode()) for _, text in documents)
    expected = num_tokens * math.log2(len(used)) / num_bytes
    assert result.scores["bits_per_byte"].value == pytest.approx(expected, rel=1e-4)
