from pathlib import Path

import pytest
import torch

from forgeline.core.errors import DataError, FingerprintError, ParamsError
from forgeline.core.storage import sha256_path, write_json
from forgeline.model.build import build_model
from forgeline.model.initial import extend_embeddings, initial_model
from forgeline.model.loading import save_model_files
from forgeline.model.params import LlamaParams
from forgeline.tokenization.adopt import origin_fingerprint
from forgeline.tokenization.extension import EXTENSION_FILE, Extension, read_extension
from forgeline.tokenization.loading import load_tokenizer
from forgeline.tokenization.origin import Origin

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def saved(tiny_architecture: LlamaParams, tokenizer, tmp_path: Path):
    """A model and the folder it was saved in."""
    torch.manual_seed(5)
    model = build_model(tiny_architecture, tokenizer)
    save_model_files(model, tokenizer, tmp_path / "before")
    return model, tmp_path / "before"


@pytest.fixture
def extended(saved, tokenizer_folder: Path, tmp_path: Path) -> Path:
    """The tokenizer with two more words, as the tokenizer stage would leave it."""
    _, origin = saved
    tokenizer = load_tokenizer(tokenizer_folder)
    size = len(tokenizer)
    words = ["applepear", "plum plum"]
    pieces = [tokenizer.encode(word, add_special_tokens=False) for word in words]
    assert tokenizer.add_tokens(words) == 2
    folder = tmp_path / "extended"
    tokenizer.save_pretrained(folder)
    fingerprint = origin_fingerprint(Origin(origin, None))
    write_json(folder / EXTENSION_FILE, {"origin": fingerprint, "base_vocab_size": size, "pieces": pieces})
    return folder


class TestContinuing:
    def test_it_starts_from_those_weights(
        self, saved, tiny_architecture: LlamaParams, tokenizer, tokenizer_folder: Path
    ) -> None:
        model, folder = saved
        other = tiny_architecture.model_copy(update={"num_hidden_layers": 1})  # of no weight: the folder decides
        start = initial_model(str(folder), other, tokenizer, tokenizer_folder)
        expected = model.state_dict()
        assert start.model.state_dict().keys() == expected.keys()
        assert all(torch.equal(value, expected[key]) for key, value in start.model.state_dict().items())
        assert start.sha256 == sha256_path(folder)
        assert len(start.new_ids) == 0

    def test_none_is_random_weights(self, tiny_architecture: LlamaParams, tokenizer, tokenizer_folder: Path) -> None:
        torch.manual_seed(5)
        start = initial_model(None, tiny_architecture, tokenizer, tokenizer_folder)
        torch.manual_seed(5)
        assert torch.equal(start.model.lm_head.weight, build_model(tiny_architecture, tokenizer).lm_head.weight)
        assert start.sha256 is None

    def test_a_name_of_nothing_is_refused(
        self, tiny_architecture: LlamaParams, tokenizer, tokenizer_folder: Path
    ) -> None:
        with pytest.raises(ParamsError, match=r"pretrain\.init_from someone/model is no folder"):
            initial_model("someone/model", tiny_architecture, tokenizer, tokenizer_folder)

    def test_a_hub_name_without_network_says_how_to_go_on(
        self, tiny_architecture: LlamaParams, tokenizer, tokenizer_folder: Path
    ) -> None:
        with pytest.raises(DataError, match=rf"hf download someone/model --revision {COMMIT} --local-dir models/model"):
            initial_model(f"someone/model@{COMMIT}", tiny_architecture, tokenizer, tokenizer_folder)

    def test_a_folder_without_a_model_is_refused(
        self, tiny_architecture: LlamaParams, tokenizer, tokenizer_folder: Path
    ) -> None:
        with pytest.raises(DataError, match="is not a model folder"):
            initial_model(str(tokenizer_folder), tiny_architecture, tokenizer, tokenizer_folder)

    def test_another_tokenizer_is_refused(
        self, saved, tiny_architecture: LlamaParams, tokenizer, tokenizer_folder: Path
    ) -> None:
        _, folder = saved
        file = folder / "tokenizer.json"
        file.write_text(file.read_text() + "\n")
        with pytest.raises(FingerprintError, match="tokenizers differ"):
            initial_model(str(folder), tiny_architecture, tokenizer, tokenizer_folder)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_weights_that_are_not_numbers_are_refused(
        self, saved, tiny_architecture: LlamaParams, tokenizer, tokenizer_folder: Path, bad: float
    ) -> None:
        model, folder = saved
        model.model.layers[1].mlp.up_proj.weight.data[3, 2] = bad
        save_model_files(model, tokenizer, folder)
        with pytest.raises(DataError, match=r"the weights model\.layers\.1\.mlp\.up_proj\.weight hold NaN or infinity"):
            initial_model(str(folder), tiny_architecture, tokenizer, tokenizer_folder)

    def test_a_file_that_only_looks_like_gguf_is_refused(
        self, tiny_architecture: LlamaParams, tokenizer, tokenizer_folder: Path, tmp_path: Path
    ) -> None:
        file = tmp_path / "model.gguf"
        file.write_bytes(b"GGUF" + bytes(60))
        with pytest.raises(DataError, match=r"pretrain\.init_from: .*model\.gguf cannot be read"):
            initial_model(str(file), tiny_architecture, tokenizer, tokenizer_folder)


class TestExtendedVocabulary:
    @pytest.mark.parametrize("tied", [True, False])
    def test_new_rows_are_the_means_of_their_old_pieces_and_old_rows_stay(
        self, tiny_architecture: LlamaParams, tokenizer, tied: bool
    ) -> None:
        model = build_model(tiny_architecture.model_copy(update={"tie_word_embeddings": tied}), tokenizer)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        extend_embeddings(model, Extension("x", 300, [[7, 9], [12]]))
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            rows, old = model.state_dict()[name], before[name]
            assert rows.shape == (302, 16)
            assert torch.equal(rows[:300], old)
            assert torch.allclose(rows[300], (old[7] + old[9]) / 2)
            assert torch.equal(rows[301], old[12])
        assert model.config.vocab_size == 302
        assert (model.lm_head.weight is model.model.embed_tokens.weight) is tied

    def test_rows_beyond_the_vocabulary_are_used_before_new_ones_are_made(
        self, tiny_architecture: LlamaParams, tokenizer
    ) -> None:
        model = build_model(tiny_architecture, tokenizer)
        extend_embeddings(model, Extension("x", 298, [[1], [2]]))
        assert model.config.vocab_size == 300
        assert torch.equal(model.lm_head.weight[299], model.lm_head.weight[2])

    def test_a_model_of_the_origins_tokenizer_is_extended(
        self, saved, extended: Path, tiny_architecture: LlamaParams
    ) -> None:
        model, folder = saved
        start = initial_model(str(folder), tiny_architecture, load_tokenizer(extended), extended)
        assert start.new_ids == range(300, 302)
        pieces = read_extension(extended).pieces
        assert torch.allclose(start.model.lm_head.weight[300], model.lm_head.weight[pieces[0]].mean(dim=0))

    def test_a_model_that_has_been_extended_before_is_taken_as_it_is(
        self, saved, extended: Path, tiny_architecture: LlamaParams, tmp_path: Path
    ) -> None:
        _, folder = saved
        first = initial_model(str(folder), tiny_architecture, load_tokenizer(extended), extended)
        save_model_files(first.model, load_tokenizer(extended), tmp_path / "again")
        again = initial_model(str(tmp_path / "again"), tiny_architecture, load_tokenizer(extended), extended)
        assert len(again.new_ids) == 0
        assert torch.equal(again.model.lm_head.weight, first.model.lm_head.weight)

    def test_a_model_of_another_origin_is_refused(self, saved, extended: Path, tiny_architecture: LlamaParams) -> None:
        _, folder = saved
        file = extended / EXTENSION_FILE
        file.write_text(file.read_text().replace(read_extension(extended).origin, "0" * 64))
        with pytest.raises(FingerprintError, match="tokenizers differ"):
            initial_model(str(folder), tiny_architecture, load_tokenizer(extended), extended)

    def test_a_model_with_too_few_rows_is_refused(
        self, saved, extended: Path, tiny_architecture: LlamaParams, tmp_path: Path
    ) -> None:
        model, _ = saved
        save_model_files(model, load_tokenizer(extended), tmp_path / "wrong")
        with pytest.raises(DataError, match="has embeddings for 300 ids, the tokenizer has 302"):
            initial_model(str(tmp_path / "wrong"), tiny_architecture, load_tokenizer(extended), extended)

    def test_a_damaged_file_is_refused(self, extended: Path) -> None:
        write_json(extended / EXTENSION_FILE, {"origin": "x"})
        with pytest.raises(DataError, match=r"extension\.json does not describe an extension"):
            read_extension(extended)
