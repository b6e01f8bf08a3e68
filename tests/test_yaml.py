"""A file that does not fit is told in one line: key as in the file, keys that exist, the one that was meant."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from supersam._yaml import load_model
from supersam.errors import ConfigError


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    path: str
    weight: float = Field(default=1.0, gt=0)


class Square(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["square"]
    side: int = 1
    parts: list[Part] | Path = []
    by_name: dict[str, Part] = {}
    pair: tuple[int, Part] | None = None

    @model_validator(mode="after")
    def _check(self) -> "Square":
        if self.side == 13:
            raise ValueError("side 13 brings bad luck")
        return self


class Circle(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["circle"]
    radius: int = 1


class Shape(RootModel[Annotated[Square | Circle, Field(discriminator="kind")]]):
    pass


SQUARE_KEYS, PART_KEYS = "There are: kind, side, parts, by_name, pair", "There are: path, weight"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sied: 2", f"sied: unknown key. Did you mean 'side'? {SQUARE_KEYS}"),
        ("colour: red", f"colour: unknown key. {SQUARE_KEYS}"),
        ("parts: [{paht: x}]", f"parts.0.paht: unknown key. Did you mean 'path'? {PART_KEYS} (and 1 more)"),
        ("by_name: {a: {path: x, color: 1}}", f"by_name.a.color: unknown key. {PART_KEYS}"),
        ("pair: [1, {path: x, weigth: 1}]", f"pair.1.weigth: unknown key. Did you mean 'weight'? {PART_KEYS}"),
        ("parts: [a]", "parts.0: must be a mapping of keys to values, not 'a'; keys are: path, weight"),
        ("parts: 3", "parts: must be a list, or must be a path"),
        ("parts: [{path: x, weight: 0}]", "parts.0.weight: Input should be greater than 0"),
        ("side: 13", "side 13 brings bad luck"),
    ],
)
def test_a_problem_is_told_by_its_key(tmp_path, content, message):
    path = tmp_path / "shape.yaml"
    path.write_text(f"kind: square\n{content}\n")

    with pytest.raises(ConfigError) as caught:
        load_model(path, Shape, ConfigError)
    assert str(caught.value) == f"{path}: {message}"
