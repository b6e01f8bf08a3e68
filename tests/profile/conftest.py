"""A runtime whose times are known, on a clock that only it moves."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from supersam import latency
from supersam.profile import machine
from supersam.profile.plan import Item
from supersam.profile.protocol import Instant, Protocol
from supersam.profile.runtimes import Call, Exported
from supersam.space import AnyArchitecture, Architecture, Part, StagedSpace, parts

CALL_MS = 0.02
BORDER_MS = 1e-5  # for each number that goes in or out
QUICK = Protocol(samples=2, seconds=0.0, warm_up_seconds=0.0)


def shapes(part: Part) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The input and output of a part for one image, from its arguments alone."""
    a = part.arguments
    match part.kind:
        case "stem":
            return (1, 3, a[0], a[0]), (1, a[1], a[0] // 4, a[0] // 4)
        case "downsample":
            return (1, a[1], a[0], a[0]), (1, a[2], a[0] // 2, a[0] // 2)
        case "lateral":
            side = {2: a[1] // 2, 3: a[1], 4: a[1] * 2}[a[0]]
            return (1, a[2], a[1], a[1]), (1, 256, side, side)
        case "fuse":
            return (1, 256, a[0], a[0]), (1, 256, a[0], a[0])
        case "sam_patch":
            return (1, 3, a[0], a[0]), (1, a[0] // 16, a[0] // 16, a[1])
        case "sam_layer":
            return (1, a[0], a[0], a[1]), (1, a[0], a[0], a[1])
        case "sam_neck":
            return (1, a[0], a[0], a[1]), (1, 256, a[0], a[0])
        case _:
            return (1, a[1], a[0], a[0]), (1, a[1], a[0], a[0])


class Board:
    """A device on which parts take what their operations say, and borders of the engine what crosses them."""

    name = "board"
    exporter = "none"

    def __init__(self) -> None:
        self.wall = self.cpu = 0
        self.prepared: list[str] = []
        self.part_ms: Callable[[Part], float] = lambda part: 0.01 * part.ops.kernels + 3 * part.ops.gmacs
        self.noise: Callable[[str, int], float] = lambda name, number: 1.0  # by item and how often it was prepared
        self.dies_at: int | None = None

    def check(self) -> None:
        """It is there."""

    def about(self) -> latency.Runtime:
        return latency.Runtime(name=self.name, version="1")

    def whole_ms(self, architecture: AnyArchitecture) -> float:
        """What a whole network takes."""
        numbers = 3 * architecture.resolution**2 + 256 * (architecture.resolution // 16) ** 2
        return CALL_MS + BORDER_MS * numbers + sum(map(self.part_ms, parts(architecture)))

    def item_ms(self, item: Item) -> float:
        """What an item takes."""
        if item.architecture is not None:
            return self.whole_ms(item.architecture)
        numbers = math.prod(shapes(item.parts[0])[0]) + math.prod(shapes(item.parts[-1])[1])
        return CALL_MS + BORDER_MS * numbers + sum(map(self.part_ms, item.parts))

    def prepare(self, model: Exported) -> Call:
        name = model.item.name
        ms = self.item_ms(model.item) * self.noise(name, self.prepared.count(name))
        self.prepared.append(name)
        if self.dies_at is not None and len(self.prepared) > self.dies_at:
            raise RuntimeError("the cable fell out\nand more")

        def call() -> Any:
            self.wall += round(1e6 * ms)
            self.cpu += round(1e6 * ms)
            return np.ones(1)

        return call

    def clock(self) -> Instant:
        return Instant(self.wall, self.cpu)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    monkeypatch.setattr(machine, "read_clocks", lambda: machine.Clocks(None, 0))
    return Board()


@pytest.fixture
def space(staged_content: dict[str, Any]) -> StagedSpace:
    """A staged space of 48 architectures."""
    one = {"depths": [1], "widths": [16], "ratios": [2], "window": 0}
    stages = [
        {**one, "blocks": ["repvit"], "widths": [8, 16]},
        {**one, "blocks": ["vit", "rwkv"], "widths": [16, 24, 32]},
        {**one, "blocks": ["efficientvit"], "depths": [1, 2]},
        {**one, "blocks": ["rwkv"], "ratios": [1, 2]},
    ]
    return StagedSpace.model_validate({**staged_content, "resolutions": [64], "stages": stages})


@pytest.fixture
def four_types(tiny_staged: StagedSpace) -> Architecture:
    """An encoder with a block type of its own in each stage."""
    choices = tiny_staged.encode(tiny_staged.smallest())
    for number, block in enumerate(("repvit", "vit", "efficientvit", "rwkv"), start=1):
        choices[f"stage{number}.block"] = block
    return tiny_staged.decode(choices)


@pytest.fixture
def quick() -> Protocol:
    return QUICK


@pytest.fixture
def shapes_of() -> Callable[[Part], tuple[tuple[int, ...], tuple[int, ...]]]:
    return shapes


@pytest.fixture
def journal_file(tmp_path: Path) -> Path:
    return tmp_path / "own" / "board.jsonl"


@pytest.fixture
def onnx_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One cache for all tests of a process: exporting takes seconds."""
    folder = tmp_path_factory.getbasetemp() / "onnx-cache"
    monkeypatch.setenv("SUPERSAM_CACHE", str(folder))
    return folder
