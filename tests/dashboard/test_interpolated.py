"""Parts between measured ones on the devices page: known, and never called measured."""

from dashboard.coverage import coverage, heat_map
from dashboard.part_sums import PartSums
from supersam.latency import LatencyTable, load_table
from supersam.space import SearchSpace, load_space
from supersam.space.parts import part_from_key
from supersam.space.terms import space_parts


def without_width(table: LatencyTable, kind: str, width: int) -> LatencyTable:
    kept = {
        key: entry
        for key, entry in table.entries.items()
        if (part := part_from_key(key)).kind != kind or part.arguments[1] != width
    }
    return table.model_copy(update={"entries": kept})


def starter() -> tuple[LatencyTable, LatencyTable, SearchSpace]:
    table = load_table("cpu-x86-1t")
    return table, without_width(table, "efficientvit", 48), load_space("starter")


def test_coverage_counts_what_lies_between_apart_from_what_was_measured() -> None:
    table, thin, space = starter()
    lacking = sum(part.kind == "efficientvit" and part.arguments[1] == 48 for part in space_parts(space))

    full, found = coverage(table, space), coverage(thin, space)

    assert lacking > 0
    assert (full.measured, full.other) == (full.n_parts, 0)
    assert (found.measured, found.other, found.estimated) == (found.n_parts - lacking, lacking, 0)


def test_cell_between_two_widths_says_that_it_is_interpolated() -> None:
    _, thin, space = starter()

    cells = {
        (row.block, cell.width): cell for row in heat_map(thin, space, 384).rows[4:8] for cell in row.cells
    }  # stage 2

    assert cells["efficientvit", 48].method == "interpolated"
    assert cells["efficientvit", 32].method == "measured"


def test_encoders_with_a_part_between_two_lack_nothing() -> None:
    _, thin, space = starter()
    architecture = space.decode(space.encode(space.smallest()) | {"stage2.block": "efficientvit", "stage2.width": 48})
    sums = PartSums([architecture, space.largest()])

    between, other = sums.latencies(thin)

    assert sums.missing(thin) == []
    assert (between.method, other.method) == ("interpolated", "measured")
    assert between.ms > 0
