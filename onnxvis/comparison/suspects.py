"""Nodes that are told other things in the two files, whether or not the difference shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxvis.comparison.operators import is_transparent, kind_of
from onnxvis.comparison.pairs import TensorPair, sources
from onnxvis.comparison.parameters import Setting, differing
from onnxvis.comparison.sides import Side
from onnxvis.comparison.structure import Correspondence


@dataclass(frozen=True)
class Suspect:
    """Two nodes that do the same to the same tensors, but are told other things.

    Attributes:
        pair: What they compute.
        nodes: The node of each file.
        settings: What they are told differently.
        fresh: How far apart they are, beyond how far apart what they get already is; relative.
    """

    pair: TensorPair
    nodes: tuple[ir.Node, ir.Node]
    settings: tuple[Setting, ...]
    fresh: float


def suspects(
    sides: tuple[Side, Side], pairs: Mapping[str, TensorPair], correspondence: Correspondence
) -> Iterator[Suspect]:
    """Yield the nodes of one operator that get the same and are told other things, in the order of computation."""
    for name, pair in pairs.items():
        nodes = sides[0].producer(name), sides[1].producer(pair.second)
        if nodes[0] is None or nodes[1] is None or not _get_the_same(sides, nodes[0], nodes[1], correspondence):
            continue
        before = list(sources(sides[0], pairs, name))
        if any(item.verdict not in ("agrees", "permuted") for item in before):
            # What gets other numbers may rightly make the same of them.
            continue
        same_axes = all(_has_the_same_axes(sides, item) for item in (pair, *before))
        found = differing(sides, (nodes[0], nodes[1]), same_axes=same_axes)
        if found:
            fresh = max(pair.errors.relative - max((item.errors.relative for item in before), default=0.0), 0.0)
            yield Suspect(pair, (nodes[0], nodes[1]), tuple(found), fresh)


def _has_the_same_axes(sides: tuple[Side, Side], pair: TensorPair) -> bool:
    shapes = sides[0].shapes.get(pair.first), sides[1].shapes.get(pair.second)
    if pair.verdict == "permuted":
        return False
    # One of another shape is what a wrong operator of the same layout makes.
    return pair.alignment is None or (pair.alignment.is_identity and shapes[0] == shapes[1])


def _get_the_same(sides: tuple[Side, Side], one: ir.Node, other: ir.Node, correspondence: Correspondence) -> bool:
    """Whether two nodes of one operator read the same tensors, directly."""
    if kind_of(one) != kind_of(other) or is_transparent(one):
        return False
    data = sides[0].data_inputs(one), sides[1].data_inputs(other)
    return len(data[0]) == len(data[1]) and all(
        _origin(sides[1], correspondence.same.get(_origin(sides[0], first), "")) == _origin(sides[1], second)
        for first, second in zip(*data, strict=True)
    )


def _origin(side: Side, tensor: str) -> str:
    """Go back over what hands on."""
    while tensor in side.model.values:
        node = side.producer(tensor)
        if node is None or not is_transparent(node) or not side.data_inputs(node):
            break
        tensor = side.data_inputs(node)[0]
    return tensor
