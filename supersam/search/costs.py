"""Latency, parameters and MACs of thousands of architectures at once, exactly as the tables say.

A table's latency is a sum over parts, and every part depends on the choices of one stage (or on the widths of two
neighbours), so the whole is a sum of looked-up terms: no architecture is built.
"""

from collections.abc import Callable
from itertools import product

import numpy as np

from supersam.search.encoding import Encoding, Term
from supersam.space import AnyArchitecture, Architecture, Part, StagedSpace, ViTSpace, parts
from supersam.space.parts import neck_parts, stage_parts

Measure = Callable[[Part], float]


def cost_terms(encoding: Encoding, measure: Measure) -> list[Term]:
    """Return the terms whose sum is that of ``measure`` over the parts of each architecture."""
    if isinstance(encoding.space, ViTSpace):
        return _vit_terms(encoding, encoding.space, measure)
    return _staged_terms(encoding, encoding.space, measure)


def _staged_terms(encoding: Encoding, space: StagedSpace, measure: Measure) -> list[Term]:
    """One term for each stage with its input to the neck, one for each pair of widths, one for the fusion."""
    terms = []
    for number in range(len(space.stages)):
        own = [f"stage{number + 1}.{what}" for what in ("block", "depth", "width", "ratio")]

        def stage_only(a: AnyArchitecture, number: int = number) -> float:
            assert isinstance(a, Architecture)
            entry, *blocks = stage_parts(a, number)
            lateral = neck_parts(a)[number - 1 : number] if number else [entry]
            return sum(measure(part) for part in (*blocks, *lateral))

        def entry_only(a: AnyArchitecture, number: int = number) -> float:
            assert isinstance(a, Architecture)
            return measure(stage_parts(a, number)[0])

        terms.append(_tabulate(encoding, ["resolution", *own], stage_only))
        if number:
            widths = [f"stage{number}.width", f"stage{number + 1}.width"]
            terms.append(_tabulate(encoding, ["resolution", *widths], entry_only))

    def fusion(a: AnyArchitecture) -> float:
        assert isinstance(a, Architecture)
        return measure(neck_parts(a)[-1])

    return [*terms, _tabulate(encoding, ["resolution"], fusion)]


def _vit_terms(encoding: Encoding, space: ViTSpace, measure: Measure) -> list[Term]:
    """One term for each layer, one for what is always there."""
    terms = []
    for layer in range(1, space.depth):

        def layer_only(a: AnyArchitecture, layer: int = layer) -> float:
            assert not isinstance(a, Architecture)
            indices = [kept.index for kept in a.layers]
            return measure(parts(a)[1 + indices.index(layer)]) if layer in indices else 0.0

        terms.append(_tabulate(encoding, ["resolution", f"layer{layer}.mlp", f"layer{layer}.heads"], layer_only))

    def always(a: AnyArchitecture) -> float:
        patch, first, *_, neck = parts(a)
        return measure(patch) + measure(first) + measure(neck)

    return [*terms, _tabulate(encoding, ["resolution"], always)]


def _tabulate(encoding: Encoding, names: list[str], cost: Callable[[AnyArchitecture], float]) -> Term:
    columns = tuple(encoding.column(name) for name in names)
    values = np.zeros([int(encoding.sizes[column]) for column in columns])
    base = {name: choices[-1] for name, choices in encoding.variables.items()}
    for indices in product(*(range(size) for size in values.shape)):
        choices = {name: encoding.variables[name][index] for name, index in zip(names, indices, strict=True)}
        values[indices] = cost(encoding.space.decode(base | choices))
    return Term(columns, values)
