"""Errors in a section whose model is chosen by one of its keys."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from forgeline.core.errors import ParamsError
from forgeline.core.params import Section, load


class Circle(Section):
    shape: Literal["circle"]
    radius: float = Field(gt=0)


class Box(Section):
    shape: Literal["box"]
    sides: list[float]
    depth: float

    @model_validator(mode="after")
    def _has_sides(self) -> "Box":
        if not self.sides:
            raise ValueError("sides is empty: name one")
        return self


class Ring(Section):
    shape: Literal["ring"]
    ring: float


class Drawing(Section):
    outline: Annotated[Circle | Box | Ring, Field(discriminator="shape")]


CIRCLE = "{shape: circle, radius: 2.0}"
BOX = "{shape: box, sides: [1.0, 2.0], depth: 3.0}"


def drawing(folder: Path, outline: str) -> Path:
    file = folder / "params.yaml"
    file.write_text(f"# comment\ndrawing:\n  outline: {outline}\n", encoding="utf-8")
    return file


@pytest.mark.parametrize("outline", [CIRCLE, BOX])
def test_each_choice_has_its_own_keys(tmp_path: Path, outline: str) -> None:
    found = load("drawing", Drawing, drawing(tmp_path, outline)).outline
    assert isinstance(found, Circle if outline == CIRCLE else Box)


@pytest.mark.parametrize(
    ("outline", "expected"),
    [
        ("{shape: star}", "outline.shape: got 'star' (text), expected one of 'circle', 'box', 'ring'"),
        ("{shape: 5}", "outline.shape: got 5 (whole number), expected one of 'circle', 'box', 'ring'"),
        ("{radius: 2.0}", "outline.shape is missing: add it (presets/default.yaml shows every key with a value)"),
        ("circle", "outline: got 'circle' (text), expected a mapping of keys to values"),
        ("null", "outline: got None (nothing), expected a mapping of keys to values"),
        ("{shape: circle}", "outline.radius is missing: add it (circle needs it)"),
        ("{shape: circle, radius: 0.0}", "outline.radius: got 0.0 (number), expected greater than 0"),
        (
            "{shape: circle, radius: 2.0, sides: [1.0]}",
            "outline.sides is not a known parameter of circle: check its spelling or remove it",
        ),
        ("{shape: box, sides: [1.0, x], depth: 3.0}", "outline.sides.1: got 'x' (text), expected a valid number"),
        ("{shape: box, sides: [1.0]}", "outline.depth is missing: add it (box needs it)"),
        ("{shape: ring}", "outline.ring is missing: add it (ring needs it)"),  # a key that is called as its choice
        ("{shape: box, sides: [], depth: 3.0}", "outline: sides is empty: name one"),
    ],
)
def test_the_message_names_the_key_as_it_stands_in_the_file(tmp_path: Path, outline: str, expected: str) -> None:
    file = drawing(tmp_path, outline)
    with pytest.raises(ParamsError) as caught:
        load("drawing", Drawing, file)
    assert str(caught.value) == f"{file}:3: drawing.{expected}"
