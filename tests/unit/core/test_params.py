from pathlib import Path

import pytest
from pydantic import Field, model_validator

from forgeline.core.errors import ParamsError
from forgeline.core.params import Section, load, plain, read_yaml, write_yaml

REPOSITORY = Path(__file__).parents[3]


class Train(Section):
    learning_rate: float = Field(gt=0)
    num_steps: int = Field(ge=1)
    warmup_steps: int = Field(ge=0)
    name: str
    shuffle: bool
    betas: list[float]

    @model_validator(mode="after")
    def _consistent(self) -> "Train":
        if self.warmup_steps > self.num_steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} exceeds num_steps {self.num_steps}: lower it")
        return self


GOOD = {
    "learning_rate": "3.0e-05",
    "num_steps": "10",
    "warmup_steps": "0",
    "name": "toy",
    "shuffle": "true",
    "betas": "[0.9, 0.95]",
}


def write(folder: Path, **changed: str | None) -> Path:
    """A file whose section `train` starts on line 2; `None` leaves a key out."""
    lines = [f"  {key}: {value}" for key, value in {**GOOD, **changed}.items() if value is not None]
    file = folder / "params.yaml"
    file.write_text("\n".join(["# comment", "train:", *lines]) + "\n", encoding="utf-8")
    return file


def message(file: Path, section: str = "train") -> str:
    with pytest.raises(ParamsError) as caught:
        load(section, Train, file)
    return str(caught.value)


def test_a_good_section_comes_back_with_exact_builtin_types(tmp_path: Path) -> None:
    params = load("train", Train, write(tmp_path))
    assert params.model_dump() == {
        "learning_rate": 3e-5,
        "num_steps": 10,
        "warmup_steps": 0,
        "name": "toy",
        "shuffle": True,
        "betas": [0.9, 0.95],
    }
    assert type(params.learning_rate) is float
    assert type(params.num_steps) is int


@pytest.mark.parametrize(("written", "value"), [("3e-05", 3e-5), ("3E-5", 3e-5), ("1e3", 1000.0), ("2", 2.0)])
def test_numbers_as_dvc_and_people_write_them_are_numbers(tmp_path: Path, written: str, value: float) -> None:
    learning_rate = load("train", Train, write(tmp_path, learning_rate=written)).learning_rate
    assert (learning_rate, type(learning_rate)) == (value, float)


def test_no_is_text_and_not_false(tmp_path: Path) -> None:
    assert load("train", Train, write(tmp_path, name="no")).name == "no"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"learning_rate": '"3e-5"'}, "3: train.learning_rate: got '3e-5' (text), expected a valid number"),
        ({"learning_rate": "true"}, "3: train.learning_rate: got True (true/false), expected a valid number"),
        ({"num_steps": "10.0"}, "4: train.num_steps: got 10.0 (number), expected a valid integer"),
        ({"num_steps": "true"}, "4: train.num_steps: got True (true/false), expected a valid integer"),
        ({"num_steps": "null"}, "4: train.num_steps: got None (nothing), expected a valid integer"),
        ({"num_steps": "0"}, "4: train.num_steps: got 0 (whole number), expected greater than or equal to 1"),
        ({"learning_rate": "0.0"}, "3: train.learning_rate: got 0.0 (number), expected greater than 0"),
        ({"name": "5"}, "6: train.name: got 5 (whole number), expected a valid string"),
        ({"shuffle": "1"}, "7: train.shuffle: got 1 (whole number), expected a valid boolean"),
        ({"shuffle": "yes"}, "7: train.shuffle: got 'yes' (text), expected a valid boolean"),
        ({"betas": "0.9"}, "8: train.betas: got 0.9 (number), expected a valid list"),
        ({"betas": "[0.9, x]"}, "8: train.betas.1: got 'x' (text), expected a valid number"),
        (
            {"num_stepz": "10"},
            "9: train.num_stepz is not a known parameter: check its spelling or remove it",
        ),
        (
            {"shuffle": None},
            "2: train.shuffle is missing: add it (presets/default.yaml shows every key with a value)",
        ),
        ({"warmup_steps": "11"}, "2: train: warmup_steps 11 exceeds num_steps 10: lower it"),
    ],
)
def test_a_wrong_value_is_named_with_file_line_key_and_remedy(
    tmp_path: Path, changed: dict[str, str | None], expected: str
) -> None:
    file = write(tmp_path, **changed)
    assert message(file) == f"{file}:{expected}"


def test_every_problem_of_a_section_is_told_at_once(tmp_path: Path) -> None:
    lines = message(write(tmp_path, num_steps="0", name=None, extra="1")).splitlines()
    assert [line.split(": ")[1].split(" ")[0] for line in lines] == ["train.num_steps", "train.name", "train.extra"]


def test_the_item_of_a_block_list_is_found_by_line(tmp_path: Path) -> None:
    file = write(tmp_path, betas="\n    - 0.9\n    - high")
    assert message(file) == f"{file}:10: train.betas.1: got 'high' (text), expected a valid number"


def test_a_dotted_section_is_found_and_its_errors_carry_the_whole_path(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    body = "\n".join(f"      {key}: {value}" for key, value in GOOD.items())
    file.write_text(f"align:\n  dpo:\n    inner:\n{body}\n")
    assert load("align.dpo.inner", Train, file).num_steps == 10
    file.write_text(f"align:\n  dpo:\n    inner:\n{body.replace('num_steps: 10', 'num_steps: ten', 1)}\n")
    assert message(file, "align.dpo.inner") == (
        f"{file}:5: align.dpo.inner.num_steps: got 'ten' (text), expected a valid integer"
    )


@pytest.mark.parametrize("section", ["sft", "train.dpo", "train.num_steps.x"])
def test_a_missing_section_is_named(tmp_path: Path, section: str) -> None:
    assert f"section '{section}' is missing" in message(write(tmp_path), section)


def test_an_empty_file_lacks_the_section(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("")
    assert "section 'train' is missing" in message(file)


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    assert message(tmp_path / "no.yaml") == (
        f"{tmp_path / 'no.yaml'} does not exist: run from the root of the repository"
    )


def test_a_duplicate_key_is_refused_with_its_line(tmp_path: Path) -> None:
    file = write(tmp_path, betas="[0.9, 0.95]\n  num_steps: 20")
    found = message(file)
    assert found.startswith(f"{file}:9: not valid YAML")
    assert "num_steps" in found


@pytest.mark.parametrize(
    ("text", "line"), [("train:\n  a: [1, 2\n", 3), ("train:\n  a: 1\n   b: 2\n", 3), ("a: \t- x: }\n", 1)]
)
def test_broken_yaml_is_refused_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    assert message(file).startswith(f"{file}:{line}: not valid YAML: ")


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_bytes("train:\n  name: Zoë\n".encode("latin-1"))
    assert message(file) == f"{file} is not UTF-8 (byte 17): save it as UTF-8"


def test_control_characters_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_bytes(b"train:\n  name: a\x07b\n")
    found = message(file)
    assert found.startswith(f"{file}: not valid YAML: unacceptable character #x0007")
    assert "\n" not in found


def test_a_section_cannot_be_changed(tmp_path: Path) -> None:
    params = load("train", Train, write(tmp_path))
    with pytest.raises(ValueError, match="frozen"):
        params.num_steps = 3


def test_plain_gives_builtin_types_only() -> None:
    document = read_yaml(REPOSITORY / "params.yaml")

    def types(node: object) -> set[type]:
        children = [*node.keys(), *node.values()] if isinstance(node, dict) else node if isinstance(node, list) else []
        return {type(node)}.union(*(types(child) for child in children))

    assert types(plain(document)) <= {dict, list, str, int, float, bool, type(None)}


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml"])
def test_reading_and_writing_changes_no_value_and_keeps_comments(tmp_path: Path, name: str) -> None:
    source = REPOSITORY / name
    copy = tmp_path / name
    write_yaml(copy, read_yaml(source))
    assert plain(read_yaml(copy)) == plain(read_yaml(source))

    def comments(file: Path) -> list[str]:
        return [line.partition("#")[2].strip() for line in file.read_text().splitlines() if "#" in line]

    assert comments(copy) == comments(source)


def test_reading_and_writing_params_is_the_identity(tmp_path: Path) -> None:
    write_yaml(tmp_path / "params.yaml", read_yaml(REPOSITORY / "params.yaml"))
    assert (tmp_path / "params.yaml").read_text() == (REPOSITORY / "params.yaml").read_text()
