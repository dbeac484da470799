"""The examples of docs/models.md are complete sections that can be built."""

import re
from pathlib import Path

import pytest

from forgeline.core.params import plain, read_yaml
from forgeline.model.params import ModelParams
from forgeline.planning.model_size import num_parameters

BLOCKS = re.findall(r"^```yaml\n(# section model, in full\n.*?)^```", Path("docs/models.md").read_text(), re.M | re.S)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_is_a_whole_section(number: int, tmp_path: Path) -> None:
    file = tmp_path / "example.yaml"
    file.write_text(BLOCKS[number])
    params = ModelParams.model_validate(plain(read_yaml(file))["model"]).root
    assert 1e6 < num_parameters(params, 4096) < 1e7


def test_there_is_one_of_each_kind_but_the_default() -> None:
    assert {kind for block in BLOCKS for kind in re.findall(r"kind: (\w+)", block)} == {"decoder", "transformers"}
