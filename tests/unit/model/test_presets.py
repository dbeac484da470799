"""Models with a size for their name: they have it, and putting one into params.yaml changes nothing else."""

import shutil
from pathlib import Path

import pytest

from forgeline.check import check
from forgeline.cli import model as model_command
from forgeline.core.errors import ParamsError
from forgeline.core.params import plain, read_yaml
from forgeline.model.params import LlamaParams
from forgeline.model.presets import preset_names, read_preset, use_preset
from forgeline.planning.model_size import num_parameters

ROOT = Path.cwd()
SIZES = {"3m": 3e6, "9m": 9e6, "23m": 23e6, "42m": 42e6, "124m": 124e6, "350m": 350e6, "1b": 1e9}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the shipped params.yaml and presets."""
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    (tmp_path / "tasks").symlink_to(ROOT / "tasks")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_is_one_for_every_size() -> None:
    assert preset_names() == sorted(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_its_size_is_its_name_and_what_its_file_says(name: str) -> None:
    preset = read_preset(name)
    count = num_parameters(preset.params, preset.vocab_size)
    assert count == pytest.approx(SIZES[name], rel=0.03)
    head = Path(f"presets/models/{name}.yaml").read_text().splitlines()[0]
    assert f"{count:,} parameters with a vocabulary of {preset.vocab_size:,}" in head


@pytest.mark.parametrize("name", SIZES)
def test_the_table_of_the_guide_has_its_numbers(name: str) -> None:
    preset = read_preset(name)
    params = preset.params
    assert isinstance(params, LlamaParams)
    count = num_parameters(params, preset.vocab_size)
    row = (
        f"| `{name}` | {count:,} | {preset.vocab_size:,} | {params.hidden_size:,} | "
        f"{params.intermediate_size:,} | {params.num_hidden_layers} | {params.num_attention_heads} | "
        f"{params.num_key_value_heads} | {params.max_position_embeddings:,} |"
    )
    assert row in Path("docs/models.md").read_text().splitlines()


@pytest.mark.parametrize("name", SIZES)
def test_it_takes_the_place_of_the_section_and_of_nothing_else(root: Path, name: str) -> None:
    before = Path("params.yaml").read_text()
    use_preset(read_preset(name), check)
    after = Path("params.yaml").read_text()
    check(Path("params.yaml"))
    values = plain(read_yaml(Path("params.yaml")))
    assert values.pop("model") == read_preset(name).params.model_dump()
    old = plain(read_yaml(ROOT / "params.yaml"))
    del old["model"]
    assert values == old
    start = before.index("model:\n  kind")
    assert after[:start] == before[:start]
    rest = before[before.index("\npack:\n") :]
    assert after.endswith(rest)
    assert {path.name for path in root.iterdir()} == {"params.yaml", "presets", "tasks"}


def test_the_default_is_the_smallest_with_one_layer_less(root: Path) -> None:
    default = plain(read_yaml(Path("params.yaml")))["model"]
    assert {**default, "num_hidden_layers": 5} == read_preset("3m").params.model_dump()


def test_the_last_section_of_a_file_can_be_replaced(root: Path) -> None:
    document = Path("params.yaml").read_text()
    start, end = document.index("model:\n  kind"), document.index("\npack:\n")
    Path("params.yaml").write_text(document[:start] + document[end + 1 :] + "\n" + document[start:end])
    use_preset(read_preset("9m"), check)
    assert Path("params.yaml").read_text().endswith("".join(read_preset("9m").lines))


def test_a_sequence_that_the_model_cannot_read_leaves_the_file_as_it_was(root: Path) -> None:
    text = Path("params.yaml").read_text().replace("sequence_length: 256", "sequence_length: 600")
    text = text.replace("max_position_embeddings: 512", "max_position_embeddings: 600")
    Path("params.yaml").write_text(text)
    with pytest.raises(
        ParamsError, match=r"^params\.yaml: pack\.sequence_length 600 is more than model\.max_pos.* 512"
    ):
        use_preset(read_preset("3m"), check)
    assert Path("params.yaml").read_text() == text
    assert {path.name for path in root.iterdir()} == {"params.yaml", "presets", "tasks"}


def test_an_unknown_name_is_refused_with_the_known_ones(root: Path) -> None:
    with pytest.raises(ParamsError, match="there is no model '5m': choose one of 124m, 1b, 23m, 350m, 3m, 42m, 9m"):
        read_preset("5m")


def test_the_command_tells_size_and_memory(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model_command("9m")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "params.yaml: model is now 9m",
        "  8,917,248 parameters, vocabulary 8,192",
        "  7,868,672 parameters here, with tokenizer.vocab_size 4,096",
    ]
    assert lines[3].startswith("  a step of pretraining (8 x 256 tokens, muon, bf16) holds ")
    assert "weights 31 MB, gradients 31 MB, optimizer 36 MB, activations " in lines[3]
