"""What is refused when a table is read: one clear line that names the file and the line at fault."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from supersam.errors import LatencyTableError, UsageError
from supersam.latency import LatencyTable, alias_of, load_table, parse_table, read_table
from supersam.latency.lines import line_of

STEM = "stem:256:16"
ENTRY: dict[str, Any] = {"ms": 1.0, "lo": 0.5, "hi": 2.0, "method": "measured"}
ESTIMATOR = {
    "ms_per_kernel": 0.5,
    "ms_per_dense_gmac": 10.0,
    "ms_per_depthwise_gmac": 1000.0,
    "ms_per_traffic_mb": 2.0,
    "bytes_per_element": 2,
    "spread": 1.5,
    "calibration_rows": 9,
}
TABLE: dict[str, Any] = {
    "schema": 2,
    "name": "toy",
    "device": {"name": "Toy", "kind": "cpu"},
    "runtime": {"name": "onnxruntime"},
    "exporter": "none",
    "precision": "fp32",
    "power": {"mode": "15 W", "clocks_locked": True},
    "clock": "wall",
    "method": "measured",
    "grade": "A",
    "date": "2026-01-31",
    "quality": {"repeat_cv_median_pct": 0.5},
    "sources": ["made up for this test"],
    "licence": "CC0-1.0",
    "entries": {"fuse:16": ENTRY, STEM: ENTRY},
    "networks": {"known": ENTRY},
}


def with_(*keys: str, value: Any) -> str:
    """Return the text of the table with one value changed."""
    content = json.loads(json.dumps(TABLE))
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return json.dumps(content, indent=1)


def without(key: str) -> str:
    return json.dumps({name: value for name, value in TABLE.items() if name != key}, indent=1)


def refusal(text: str) -> str:
    with pytest.raises(LatencyTableError) as caught:
        parse_table(text, "toy.json")
    message = str(caught.value)
    assert "\n" not in message
    assert "toy.json" in message
    return message


def test_the_table_of_these_tests_is_sound() -> None:
    assert parse_table(json.dumps(TABLE), "toy.json").name == "toy"


@pytest.mark.parametrize(
    ("keys", "value", "tells"),
    [
        (("schema",), 1, "has schema 1, this version reads 2; measure it again"),
        (("schema",), 3, "has schema 3, this version reads 2; install a newer supersam"),
        (("schema",), "two", "schema: Input should be 2"),
        (("name",), "Toy Board", "name: "),
        (("grade",), "F", "grade: "),
        (("date",), "yesterday", "date: "),
        (("date",), "2026-02-30", "date: 2026-02-30 is no day of the calendar"),
        (("sources",), [], "sources: "),
        (("batch",), 8, "batch: "),
        (("clock",), "sundial", "clock: "),
        (("device", "kind"), "Magic", "device.kind: "),
        (("power", "volts"), 3, "power.volts: Extra inputs are not permitted"),
        (("colour",), "red", "colour: Extra inputs are not permitted"),
        (("entries", STEM, "ms"), 0, "entries.stem:256:16.ms: Input should be greater than 0"),
        (("entries", STEM, "ms"), -1, "entries.stem:256:16.ms: Input should be greater than 0"),
        (("entries", STEM, "ms"), float("nan"), "entries.stem:256:16.ms: Input should be a finite number"),
        (("entries", STEM, "hi"), float("inf"), "entries.stem:256:16.hi: Input should be a finite number"),
        (("entries", STEM, "ms"), 10**400, "entries.stem:256:16.ms: "),
        (("entries", STEM, "ms"), "fast", "entries.stem:256:16.ms: "),
        (("entries", STEM, "lo"), 1.5, "entries.stem:256:16.lo: the interval [1.5, 2.0] does not hold 1.0"),
        (("entries", STEM, "hi"), 0.75, "does not hold 1.0"),
        (("entries", STEM, "unit"), "s", "entries.stem:256:16.unit: Extra inputs are not permitted"),
        (("entries", STEM, "rounds"), [1.0, 0.0], "entries.stem:256:16.rounds: rounds must be positive"),
        (("entries", STEM, "method"), "guessed", "entries.stem:256:16.method: "),
        (("entries", STEM, "method"), "estimated", "an entry that is estimated in a table that is measured"),
        (("entries", STEM, "method"), "interpolated", "an entry that is interpolated in a table that is measured"),
        (("entries", "stew:256"), ENTRY, "there is no kind of part 'stew'"),
        (("entries", "stem:256"), ENTRY, "'stem:256' is not stem:resolution:width"),
        (("entries", "fuse:016"), ENTRY, "'fuse:016' is not fuse:side"),
        (("networks", "known", "role"), "star", "networks.known.role: "),
        (("networks", "known", "method"), "interpolated", "never interpolated"),
        (
            ("networks", "known"),
            ENTRY | {"role": "held-out", "lo": 0.5, "hi": 9.0, "method": "estimated"},
            "a network for held-out must be measured",
        ),
        (("composition",), {"factor": 0}, "composition.factor: "),
        (("composition",), {"spread": 0.5}, "composition.spread: "),
        (("composition",), {"factor_per_kind": {"vit": -1}}, "factor_per_kind.vit: a factor must be positive"),
        (("estimator",), {"ms_per_kernel": -1}, "estimator.ms_per_kernel: "),
        (("estimator",), ESTIMATOR | {"spread_of_kind": {"vit": 1}}, "estimator.spread_of_kind.vit: a spread must be"),
        (("power", "clocks_locked"), False, "grade A is too good, at best B: clocks were not locked"),
        (("power", "clocks_locked"), None, "grade A is too good, at best D: nobody says at what clocks"),
        (("date",), None, "grade A is too good, at best D: no date"),
        (("quality",), {}, "grade A is too good, at best D: nobody says how far repeats differ"),
        (("quality", "repeat_cv_median_pct"), 2, "grade A is too good, at best B: repeats vary by 2 %"),
        (("quality", "repeat_cv_median_pct"), 5, "grade A is too good, at best C: repeats vary by 5 %"),
        (("quality", "repeat_cv_median_pct"), 9, "grade A is too good, at best D: repeats vary by 9 %"),
        (("clock",), "cpu", "grade A is too good, at best C: only the process's CPU time"),
        (("entries", STEM, "throttled"), True, "grade A is too good, at best C: the device throttled"),
    ],
)  # fmt: skip
def test_damage_is_told_with_its_key_and_line(keys: tuple[str, ...], value: Any, tells: str) -> None:
    text = with_(*keys, value=value)

    message = refusal(text)

    assert tells in message
    if "has schema" not in tells:
        line, told = message.removeprefix("latency table toy.json:").split(" is damaged: ")
        key = told.split(": ")[0].split(".")[-1]
        assert f'"{key}"' in text.splitlines()[int(line) - 1]


@pytest.mark.parametrize(
    "key", ["name", "device", "runtime", "exporter", "power", "clock", "method", "date", "licence"]
)
def test_missing_key_is_named(key: str) -> None:
    assert f"{key}: Field required" in refusal(without(key))


def test_what_is_not_measured_needs_an_interval_and_an_origin() -> None:
    guess = ENTRY | {"method": "estimated"}
    header = TABLE | {"method": "estimated", "grade": "E", "networks": {}}

    assert "an interval wider than a point" in refusal(
        json.dumps(header | {"estimator": ESTIMATOR, "entries": {STEM: guess | {"lo": 1.0, "hi": 1.0}}})
    )
    assert "must say what from (derived_from)" in refusal(json.dumps(header | {"entries": {STEM: guess}}))
    said = json.dumps(header | {"entries": {STEM: guess | {"derived_from": ["row 1"]}}})
    assert parse_table(said, "toy.json").entries[STEM].derived_from == ("row 1",)
    assert "at best E: estimated, not measured" in refusal(
        json.dumps(header | {"grade": "D", "estimator": ESTIMATOR, "entries": {}})
    )


@pytest.mark.parametrize(
    ("text", "tells"),
    [
        ("", "toy.json:1 is damaged: Expecting value"),
        ('{"schema": 2,\n "name" "toy"}', "toy.json:2 is damaged: Expecting ':' delimiter"),
        ("[1, 2]", "it must be a dictionary, not list"),
        ("{}", "schema: Field required"),
        ('{"schema": 2,\n "name": "a",\n "name": "b"}', "toy.json:3 is damaged: the key 'name' is there twice"),
        ("[" * 100_000, "damaged"),
        ('{"schema": 2, "name": ' + "9" * 5000 + "}", "damaged"),
        ('{"schema": 2, "note": "\\ud800"}', "damaged"),
    ],
    ids=["empty", "torn", "list", "nothing", "twice", "deep", "long", "surrogate"],
)
def test_what_is_no_table_at_all_is_told(text: str, tells: str) -> None:
    assert tells in refusal(text)


@pytest.mark.parametrize(
    ("again", "key"), [('"ms": 3.0', "ms"), ('"m\\u0073": 3.0', "ms"), ('"a:{\\"": 1, "a:{\\"": 2', 'a:{"')]
)
def test_key_that_is_there_twice_is_told_with_its_own_line(again: str, key: str) -> None:
    """The same key is sound in other dictionaries, before and behind."""
    text = json.dumps(TABLE, indent=1)
    start = text.index('"ms"', text.index('"fuse:16"'))
    text = f"{text[:start]}{again},\n{text[start:]}"

    message = refusal(text)

    assert f"the key {key!r} is there twice" in message
    line = int(message.removeprefix("latency table toy.json:").split(" ")[0])
    assert abs(line - (text.count("\n", 0, start) + 1)) <= 1


def test_file_that_is_not_text_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "toy.json"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(LatencyTableError, match=r"toy\.json is damaged"):
        read_table(path)


def test_line_of_a_value_is_found_whatever_the_layout() -> None:
    text = '{"a": {"b\\"": [1,\n 2,\n {"ms": 3}], "ms": 4},\n\n"ms" :\n 5}'

    assert line_of(text, ("a", 'b"', "2", "ms")) == 3
    assert line_of(text, ("a", "ms")) == 3
    assert line_of(text, ("ms",)) == 6
    assert line_of(text, ("a", "nothing")) == 1
    assert line_of(text, ("ms", "deeper")) == 6


SOUND = json.dumps(TABLE | {"estimator": ESTIMATOR}, indent=1)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, found in inner for place in places(found, (*at, key)))]


PLACES = places(json.loads(SOUND))[1:]


def usable_or_refused(text: str) -> None:
    """A text is a table that can be shown and written again, or refused in one line."""
    try:
        table = parse_table(text, "toy.json")
    except LatencyTableError:
        refusal(text).encode()
    else:
        assert parse_table(table.to_json(), "again") == table
        assert table.best_grade.grade <= table.grade


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(place=st.sampled_from(PLACES), value=ANYTHING)
@example(place=("entries", STEM, "ms"), value=1e-320)
@example(place=("estimator", "ms_per_kernel"), value=1e308)
def test_no_changed_value_gives_a_traceback(place: tuple[Any, ...], value: Any) -> None:
    content = json.loads(SOUND)
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value

    usable_or_refused(json.dumps(content))


@settings(max_examples=150, deadline=None)
@given(start=st.integers(0, len(SOUND)), length=st.integers(0, 40), put=st.text(max_size=3))
def test_no_torn_text_gives_a_traceback(start: int, length: int, put: str) -> None:
    usable_or_refused(SOUND[:start] + put + SOUND[start + length :])


def test_a_table_is_found_by_the_name_in_it_and_by_that_of_its_file(tmp_path: Path) -> None:
    for file, name in (("copy", "toy"), ("toy-board", "other"), ("other", "third")):
        (tmp_path / f"{file}.json").write_text(json.dumps(TABLE | {"name": name, "aliases": [f"{name}-too"]}))

    found = {asked: load_table(asked, tmp_path).name for asked in ("toy", "copy", "toy-board", "other", "other-too")}

    assert found == {"toy": "toy", "copy": "toy", "toy-board": "other", "other": "other", "other-too": "other"}


@pytest.mark.parametrize("name", ["toy", "toy-too"])
def test_a_name_of_several_tables_is_refused_with_their_paths(tmp_path: Path, name: str) -> None:
    for file in ("one", "two"):
        (tmp_path / f"{file}.json").write_text(json.dumps(TABLE | {"aliases": ["toy-too"]}))

    with pytest.raises(UsageError, match="several tables") as caught:
        load_table(name, tmp_path)

    assert all(str(tmp_path / f"{file}.json") in str(caught.value) for file in ("one", "two"))
    assert load_table("one", tmp_path).name == "toy"


def test_the_name_inside_a_file_is_taken_for_new_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file.json").write_text(json.dumps(TABLE | {"aliases": ["toy-too"]}))
    (tmp_path / "own.json").write_text(json.dumps(TABLE | {"name": "own"}))
    monkeypatch.setattr("supersam.latency.read.data_dir", lambda name: tmp_path)

    assert [alias_of(name) for name in ("toy", "toy-too", "own", "free")] == ["file", "file", None, None]


def test_shipped_tables_say_what_their_grade_needs() -> None:
    table = load_table("jetson-orin")

    assert isinstance(table, LatencyTable)
    assert table.best_grade == ("E", "estimated, not measured")
