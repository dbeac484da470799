import json
from pathlib import Path

import pytest
from tests.conftest import byte_bpe_params, shards_of
from tests.unit.tokenization.tokenizer_params import sentencepiece_params

from forgeline.sources.hpo import load_ontology
from forgeline.tokenization.train import make_tokenizer


@pytest.fixture(scope="session")
def medical_texts() -> list[str]:
    """Definitions of the packaged ontology, with blanks, newlines and characters that are rare among them."""
    ontology = load_ontology(Path("src/forgeline/sources/hpo.json"))
    texts = [f"{term.name}\n\n{term.definition}" for term in ontology.terms.values() if term.definition][:1500]
    odd = [
        "  two  blanks and   three\n\n\n\tand a tab\t",
        "naïve ünï 東京タワー 12345 67",
        "a ▁ b",
        "\r\n x \u00a0\u2028 ﬁ½",
    ]
    return [*texts, *odd]


@pytest.fixture(scope="session")
def medical_shards(medical_texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return shards_of(tmp_path_factory.mktemp("medical"), medical_texts, "hpo")


@pytest.fixture(scope="session")
def general_shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Texts that say nothing medical: the project's own pages."""
    pages = [path.read_text(encoding="utf-8") for path in (Path("README.md"), Path("docs/guide.md"))]
    return shards_of(tmp_path_factory.mktemp("general"), [line for page in pages for line in page.split("\n\n")])


@pytest.fixture(scope="session")
def origins(general_shards: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tokenizers trained on other text than the medical one, by kind."""
    kinds = {
        "byte_bpe": byte_bpe_params(600, 2, split_digits=True),
        "sentencepiece_unigram": sentencepiece_params("sentencepiece_unigram"),
        "sentencepiece_bpe": sentencepiece_params("sentencepiece_bpe"),
    }
    folders = {}
    for kind, params in kinds.items():
        folders[kind] = tmp_path_factory.mktemp(kind)
        make_tokenizer(general_shards, params).save(folders[kind])
    return folders


@pytest.fixture(scope="session")
def llama2_like(origins: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer in the manner of Llama 2: a blank is put before the text, `<s>` and `</s>` are its special tokens."""
    content = json.loads((origins["sentencepiece_bpe"] / "tokenizer.json").read_text())
    names = {"<|endoftext|>": "<s>", "<|im_end|>": "</s>", "<|pad|>": "<pad>", "<|im_start|>": "<other>"}
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {names.get(entry, entry): number for entry, number in vocabulary.items()}
    for token in content["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    content["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    }
    content["pre_tokenizer"] = None
    content["decoder"]["decoders"].append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    folder = tmp_path_factory.mktemp("llama2")
    (folder / "tokenizer.json").write_text(json.dumps(content))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
