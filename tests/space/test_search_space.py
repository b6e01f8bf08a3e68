"""Search spaces: what a file may say, how choices and architectures map, and how many there are."""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from supersam.errors import MissingError, SearchSpaceError, UsageError
from supersam.space import (
    AnyArchitecture,
    SearchSpace,
    StagedSpace,
    ViTSpace,
    count,
    load_space,
    shipped_spaces,
    summary,
)

Tells = Callable[..., AbstractContextManager[None]]
Change = Callable[[dict[str, Any]], Any]


def macs(architecture: AnyArchitecture) -> int:
    ops = count(architecture)
    return ops.dense_macs + ops.depthwise_macs


def every_architecture(space: SearchSpace) -> list[AnyArchitecture]:
    """What every combination of choices decodes to, repetitions included."""
    variables = space.variables()
    return [space.decode(dict(zip(variables, values, strict=True))) for values in product(*variables.values())]


def write(folder: Path, content: Any) -> str:
    path = folder / "own.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return str(path)


# Files


@pytest.mark.parametrize("name", shipped_spaces())
def test_shipped_space_loads_under_the_name_of_its_file(name: str) -> None:
    space = load_space(name)

    assert space.name == name
    assert space.description
    assert space.size > 1000
    assert space.contains(space.smallest())
    assert space.contains(space.largest())


def test_own_file_is_the_space_it_describes(tmp_path: Path, tiny_space: SearchSpace) -> None:
    content = tiny_space.model_dump(mode="json")

    assert load_space(write(tmp_path, content)) == tiny_space


def set_stage(number: int, key: str, value: Any) -> Change:
    return lambda content: content["stages"][number].update({key: value})


def set_key(key: str, value: Any) -> Change:
    return lambda content: content.update({key: value})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_key("colour", "red"), ["colour: unknown key", "There are: name, "]),
        (set_stage(2, "stride", 2), [": stages.2.stride: unknown key", "There are: blocks, depths, "]),
        (set_stage(1, "blocks", ["vit", "repvitt"]), ["stages.1.blocks", "'repvitt'", "Did you mean 'repvit'?"]),
        (set_stage(1, "blocks", ["mamba"]), ["stages.1.blocks", "'mamba'", "vit, repvit, efficientvit, rwkv"]),
        (set_stage(1, "blocks", ["vit", "vit"]), ["stages.1.blocks", "twice"]),
        (set_stage(1, "blocks", []), ["stages.1.blocks"]),
        (set_stage(0, "depths", [2, 1]), ["stages.0.depths", "rise", "[2, 1]"]),
        (set_stage(0, "depths", [0, 1]), ["stages.0.depths.0", "greater than 0"]),
        (set_stage(3, "widths", [32, 32]), ["stages.3.widths", "rise"]),
        (set_stage(3, "widths", [32, 44]), ["stage 4", "width 44", "head_dim 8"]),
        (set_stage(0, "ratios", [2, 2]), ["stages.0.ratios", "rise"]),
        (set_stage(0, "ratios", "two"), ["stages.0.ratios"]),
        (set_stage(0, "window", -1), ["stages.0.window"]),
        (set_stage(0, "window", 7), ["stage 1", "64px", "windows of 7"]),
        (set_key("resolutions", [128, 64]), ["resolutions", "rise"]),
        (set_key("resolutions", [64, 80]), ["stage 1", "80px", "windows of 8"]),
        (set_key("resolutions", []), ["resolutions"]),
        (set_key("head_dim", "many"), ["head_dim", "integer"]),
        (set_key("encoder", "swin"), ["encoder", "'staged'", "'sam_vit'"]),
        (set_key("name", "Tiny Space"), ["name"]),
        (lambda content: content.pop("description"), ["description", "required"]),
        (lambda content: content.pop("encoder"), ["encoder"]),
        (lambda content: content["stages"].pop(), ["stages", "required"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_staged_file_that_does_not_fit_is_told_by_file_and_key(
    tmp_path: Path, tells: Tells, staged_content: dict[str, Any], change: Change, words: list[str]
) -> None:
    change(staged_content)
    path = write(tmp_path, staged_content)

    with tells(SearchSpaceError, path, *words):
        load_space(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_key("stages", []), ["stages: unknown key"]),
        (set_key("removable_layers", [0, 1]), ["layer 0 is fixed"]),
        (set_key("removable_layers", [2, 4]), ["layer 4 does not exist"]),
        (set_key("global_layers", [-1]), ["layer -1 does not exist"]),
        (set_key("removable_layers", [2, 2]), ["removable_layers", "rise"]),
        (set_key("heads", [4, 2]), ["heads", "rise"]),
        (set_key("heads", [1, 2, 3]), ["3 heads of 16", "width 64"]),
        (set_key("mlp_widths", [0, 96]), ["mlp_widths.0", "greater than 0"]),
        (set_key("window", 0), ["window", "greater than 0"]),
        (set_key("resolutions", [100]), ["100px"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_vit_file_that_does_not_fit_is_told_by_file_and_key(
    tmp_path: Path, tells: Tells, vit_content: dict[str, Any], change: Change, words: list[str]
) -> None:
    change(vit_content)
    path = write(tmp_path, vit_content)

    with tells(SearchSpaceError, path, *words):
        load_space(path)


def test_resolution_that_is_no_multiple_of_a_stride_is_told_as_such(
    tmp_path: Path, tells: Tells, staged_content: dict[str, Any]
) -> None:
    staged_content["stages"] = [stage | {"window": 0} for stage in staged_content["stages"]]
    staged_content["resolutions"] = [64, 80]

    with tells(SearchSpaceError, "stage 4", "80px", "multiple of 32"):
        load_space(write(tmp_path, staged_content))


@pytest.mark.parametrize("number", range(4))
def test_width_that_is_no_multiple_of_four_is_told_as_such(
    tmp_path: Path, tells: Tells, staged_content: dict[str, Any], number: int
) -> None:
    staged_content["head_dim"] = 2  # quarter shifts need fours, whatever the heads
    staged_content["stages"][number]["widths"] = [14]

    with tells(SearchSpaceError, f"stage {number + 1}", "width 14", "multiple of 4"):
        load_space(write(tmp_path, staged_content))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("stages: [1, 2", ["not valid YAML"]),
        ("name: a\n  encoder: staged\n", ["not valid YAML"]),
        ("!!python/object/apply:os.getcwd []", ["not valid YAML"]),
        ("- a\n- b\n", ["mapping", "list"]),
        ("", ["mapping", "NoneType"]),
        ("just words", ["mapping", "str"]),
    ],
)
def test_damaged_yaml_is_told_in_one_line(tmp_path: Path, tells: Tells, content: str, words: list[str]) -> None:
    path = write(tmp_path, content)

    with tells(SearchSpaceError, path, *words):
        load_space(path)


def test_file_that_is_not_text_is_told_in_one_line(tmp_path: Path, tells: Tells) -> None:
    path = tmp_path / "own.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")

    with tells(SearchSpaceError, path, "not valid YAML"):
        load_space(str(path))


def test_missing_file_is_told_apart_from_an_unknown_name(tmp_path: Path, tells: Tells) -> None:
    with tells(MissingError, tmp_path / "none.yaml"):
        load_space(str(tmp_path / "none.yaml"))
    with tells(UsageError, "'startr'", "Did you mean 'starter'?", *shipped_spaces()):
        load_space("startr")


# Choices and architectures


@pytest.mark.parametrize("name", shipped_spaces())
def test_encode_inverts_decode(name: str) -> None:
    space, rng = load_space(name), random.Random(name)
    variables = space.variables()
    for _ in range(200):
        architecture = space.sample(rng)

        choices = space.encode(architecture)

        assert choices.keys() == variables.keys()
        assert all(choices[variable] in allowed for variable, allowed in variables.items())
        assert space.decode(choices) == architecture
        assert space.contains(architecture)


def test_choices_of_a_staged_architecture_are_those_it_was_made_of(
    tiny_staged: StagedSpace, rng: random.Random
) -> None:
    for _ in range(50):
        choices = {name: rng.choice(allowed) for name, allowed in tiny_staged.variables().items()}

        assert tiny_staged.encode(tiny_staged.decode(choices)) == choices


def test_heads_of_a_removed_layer_make_no_difference(tiny_vit: ViTSpace) -> None:
    choices = tiny_vit.encode(tiny_vit.largest()) | {"layer2.mlp": 0}

    found = {tiny_vit.decode(choices | {"layer2.heads": heads}) for heads in tiny_vit.heads}

    assert len(found) == 1
    assert [layer.index for layer in found.pop().layers] == [0, 1, 3]


def test_kept_layers_keep_their_place_and_window(tiny_vit: ViTSpace) -> None:
    architecture = tiny_vit.decode(tiny_vit.encode(tiny_vit.smallest()) | {"layer1.mlp": 96, "layer1.heads": 2})

    assert [(layer.index, layer.heads, layer.mlp_width, layer.window) for layer in architecture.layers] == [
        (0, 4, 256, 3),
        (1, 2, 96, 0),
        (3, 1, 96, 0),
    ]


@pytest.mark.parametrize(("variable", "value"), [("stage2.width", 20), ("stage1.block", "mamba"), ("resolution", 96)])
def test_choice_outside_the_space_is_refused(tiny_staged: StagedSpace, tells: Tells, variable: str, value: Any) -> None:
    choices = tiny_staged.encode(tiny_staged.smallest()) | {variable: value}

    with tells(SearchSpaceError, f"{variable} = {value}", "'tiny'", *tiny_staged.variables()[variable]):
        tiny_staged.decode(choices)


@pytest.mark.parametrize(
    "change", [{"head_dim": 4}, {"resolution": 96}, {"stages": ()}], ids=["head_dim", "resolution", "stages"]
)
def test_space_contains_no_architecture_that_differs_in_one_thing(
    tiny_staged: StagedSpace, tells: Tells, change: dict[str, Any]
) -> None:
    smallest = tiny_staged.smallest()
    other = replace(smallest, **change)

    assert tiny_staged.contains(smallest)
    assert not tiny_staged.contains(other)
    with tells(SearchSpaceError, "'tiny'"):
        tiny_staged.encode(other)


def test_space_contains_no_architecture_of_the_other_kind(tiny_staged: StagedSpace, tiny_vit: ViTSpace) -> None:
    assert not tiny_staged.contains(tiny_vit.smallest())
    assert not tiny_vit.contains(tiny_staged.smallest())


def test_samples_differ_and_are_repeatable(tiny_space: SearchSpace) -> None:
    def drawn(seed: int) -> list[AnyArchitecture]:
        rng = random.Random(seed)
        return [tiny_space.sample(rng) for _ in range(20)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert len(set(drawn(1))) > 15


# Size and extremes


@pytest.fixture
def few_staged(staged_content: dict[str, Any]) -> StagedSpace:
    """A staged space of 48 x 1 x 8 x 3 architectures."""
    one = {"blocks": ["rwkv"], "depths": [1], "widths": [16], "ratios": [2], "window": 0}
    two = {"blocks": ["efficientvit", "vit"], "depths": [1, 2], "widths": [16, 24], "ratios": [1], "window": 4}
    four = {
        "blocks": ["vit", "repvit", "rwkv", "efficientvit"],
        "depths": [1, 2, 3],
        "widths": [8, 16],
        "ratios": [1, 3],
    }
    stages = [{**four, "window": 4}, one, two, {**one, "ratios": [2, 3, 5]}]
    return StagedSpace.model_validate({**staged_content, "resolutions": [64], "stages": stages})


@pytest.fixture
def few_vit(vit_content: dict[str, Any]) -> ViTSpace:
    """A plain ViT space of 2 x 7 x 6 x 7 architectures."""
    return ViTSpace.model_validate({**vit_content, "removable_layers": [1, 3], "heads": [2, 4]})


@pytest.mark.parametrize(("fixture", "size"), [("few_staged", 48 * 8 * 3), ("few_vit", 2 * 7 * 6 * 7)])
def test_size_is_the_number_of_different_architectures(request: pytest.FixtureRequest, fixture: str, size: int) -> None:
    space = request.getfixturevalue(fixture)
    found = every_architecture(space)

    assert space.size == len(set(found)) == len({architecture.digest for architecture in found}) == size


@pytest.mark.parametrize("fixture", ["few_staged", "few_vit"])
def test_extremes_are_those_of_the_enumerated_space(request: pytest.FixtureRequest, fixture: str) -> None:
    space = request.getfixturevalue(fixture)
    found = [macs(architecture) for architecture in every_architecture(space)]

    assert macs(space.smallest()) == min(found)
    assert macs(space.largest()) == max(found)


@pytest.mark.parametrize("name", shipped_spaces())
def test_no_random_architecture_lies_beyond_the_extremes(name: str) -> None:
    space, rng = load_space(name), random.Random(0)
    low, high = macs(space.smallest()), macs(space.largest())

    assert low < high
    assert all(low <= macs(space.sample(rng)) <= high for _ in range(500))


def test_summary_counts_the_extremes() -> None:
    space = load_space("starter")
    figures = {}
    for end, architecture in (("smallest", space.smallest()), ("largest", space.largest())):
        params_m = round(count(architecture).params / 1e6, 4)
        figures[end] = {
            "digest": architecture.digest,
            "gmacs": round(macs(architecture) / 1e9, 4),
            "params_m": params_m,
        }

    assert summary(space) == {
        "name": "starter",
        "description": space.description,
        "n_architectures": 3 * 32 * 48 * 72 * 48,
        **figures,
    }


# Spaces in spaces


def test_starter_contains_its_single_type_spaces_and_not_the_reverse() -> None:
    starter = load_space("starter")
    for name in ("starter-vit", "starter-repvit", "starter-efficientvit", "starter-rwkv"):
        narrow = load_space(name)

        assert starter.contains_space(narrow)
        assert not narrow.contains_space(starter)
        assert narrow.contains_space(narrow)
    assert not load_space("starter-vit").contains_space(load_space("starter-rwkv"))


def test_space_with_other_windows_is_not_contained(tiny_staged: StagedSpace, staged_content: dict[str, Any]) -> None:
    staged_content["stages"][0]["window"] = 4

    assert not tiny_staged.contains_space(StagedSpace.model_validate(staged_content))


def test_spaces_of_different_kinds_do_not_contain_each_other(tiny_staged: StagedSpace, tiny_vit: ViTSpace) -> None:
    assert not tiny_staged.contains_space(tiny_vit)
    assert not tiny_vit.contains_space(tiny_staged)


@pytest.mark.parametrize(
    "change",
    [
        {"global_layers": [3]},  # differs in a removable layer only
        {"global_layers": [1]},
        {"window": 2},
        {"mlp_widths": [96, 128, 192]},  # the fixed first layer has the widest
        {"removable_layers": [1, 2, 3]},
        {"width": 32, "head_dim": 8},
    ],
    ids=lambda change: "-".join(change),
)
def test_vit_space_contains_no_space_with_an_architecture_of_its_own(
    tiny_vit: ViTSpace, vit_content: dict[str, Any], change: dict[str, Any], rng: random.Random
) -> None:
    other = ViTSpace.model_validate(vit_content | change)
    outside = [a for a in (other.sample(rng) for _ in range(100)) if not tiny_vit.contains(a)]
    assert outside

    assert not tiny_vit.contains_space(other)


def test_vit_space_contains_itself_with_fewer_choices(tiny_vit: ViTSpace, vit_content: dict[str, Any]) -> None:
    fewer = {"resolutions": [128], "removable_layers": [2], "heads": [2, 4], "mlp_widths": [128, 256]}
    other = ViTSpace.model_validate(vit_content | fewer)

    assert tiny_vit.contains_space(other)
    assert not other.contains_space(tiny_vit)


# Fingerprint


def test_fingerprint_ignores_the_name_and_the_text(staged_content: dict[str, Any], tiny_staged: StagedSpace) -> None:
    renamed = StagedSpace.model_validate(staged_content | {"name": "other", "description": "in other words"})

    assert renamed.fingerprint == tiny_staged.fingerprint


def test_fingerprint_tells_spaces_apart(staged_content: dict[str, Any], tiny_space: SearchSpace) -> None:
    staged_content["stages"][3]["window"] = 2

    found = [load_space(name).fingerprint for name in shipped_spaces()]
    found += [tiny_space.fingerprint, StagedSpace.model_validate(staged_content).fingerprint]

    assert len(set(found)) == len(found)
